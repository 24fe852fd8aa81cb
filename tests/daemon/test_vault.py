"""Secrets at rest: what is sealed opens again, also after a key was replaced, and never without its key."""

from __future__ import annotations

import pytest

from strait_daemon.vault import Unreadable, Vault

OLD, NEW, OTHER = "o" * 32, "n" * 32, "x" * 32


def test_what_is_sealed_opens_again_and_shows_nothing():
    """Another text every time, none of which holds the secret."""
    vault = Vault([OLD])
    sealed = {vault.seal("whsec_very-secret") for _ in range(3)}
    assert len(sealed) == 3
    assert all("secret" not in text and vault.open(text) == "whsec_very-secret" for text in sealed)


def test_a_key_is_replaced_step_by_step():
    """The new key in front seals, the old one behind it still opens; without it nothing does."""
    before = Vault([OLD]).seal("s")
    both = Vault([NEW, OLD])
    assert both.open(before) == "s"
    after = both.seal("s")
    assert Vault([NEW]).open(after) == "s"
    for vault, sealed in ((Vault([NEW]), before), (Vault([OLD]), after), (Vault([OTHER]), after)):
        with pytest.raises(Unreadable, match="ENCRYPTION_KEY"):
            vault.open(sealed)


def test_a_sealed_text_that_was_changed_is_refused():
    """Sealed texts are authenticated."""
    sealed = Vault([OLD]).seal("s")
    with pytest.raises(Unreadable):
        Vault([OLD]).open(sealed[:-6] + "AAAAAA")
    with pytest.raises(Unreadable):
        Vault([OLD]).open("not sealed at all")
