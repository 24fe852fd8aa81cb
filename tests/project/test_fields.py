"""Every field of a job does something: a test that this page names shows what, and a new field needs one."""

from __future__ import annotations

import ast
from dataclasses import fields
from typing import Final

import pytest

from strait_core.job import JobSpec
from tests.project.tree import ROOT, functions

# They name the job, or tell people of it.
_NAMES: Final = {"project_id", "slug", "name", "description"}

SHOWN_BY: Final[dict[str, str]] = {
    "endpoint_url": "tests/worker/test_breaker.py::test_a_changed_endpoint_is_another_breaker",
    "tags": "tests/api/test_trigger.py::test_a_trigger_is_answered_with_the_whole_run",
    "headers": "tests/worker/test_dispatch.py::test_the_request_that_an_endpoint_gets",
    "signing_secret": "tests/worker/test_signing.py::test_every_attempt_is_signed",
    "fallback_endpoint_url": "tests/worker/test_fallback.py::test_when_both_fail_the_error_tells_of_both",
    "webhook_url": "tests/services/test_outbox.py::test_a_completed_run_is_told",
    "webhook_secret": "tests/services/test_outbox.py::test_a_completed_run_is_told",
    "timeout_secs": "tests/faults/test_timeouts.py::test_never_early_and_hardly_late",
    "max_attempts": "tests/worker/test_dispatch.py::test_attempts_run_out",
    "retry_strategy": "tests/worker/test_retries.py::test_the_delays_of_a_strategy_one_after_the_other",
    "retry_delays_secs": "tests/worker/test_retries.py::test_the_delays_of_a_strategy_one_after_the_other",
    "retry_priority_boost": "tests/worker/test_retries.py::test_priority_rises_with_each_retry_to_ten",
    "non_retryable_statuses": "tests/worker/test_endings.py::test_told_not_to_retry",
    "poison_pill_threshold": "tests/worker/test_poison.py::test_the_same_error_so_often_in_a_row_is_the_end",
    "breaker_threshold": "tests/worker/test_breaker.py::test_a_threshold_of_zero_turns_it_off",
    "priority": "tests/worker/test_dispatch.py::test_high_priority_first_and_fifo_within",
    "max_concurrency": "tests/faults/test_limits.py::test_many_claimers_hold_every_cap",
    "max_concurrency_per_key": "tests/store/test_keys.py::test_keys_and_a_cap_hold_together",
    "rate_limit_max": "tests/store/test_keys.py::test_a_rate_gives_its_tokens_evenly",
    "rate_limit_window_secs": "tests/store/test_keys.py::test_a_rate_gives_its_tokens_evenly",
    "rate_limit_keys": "tests/worker/test_rate_keys.py::test_daemons_share_the_tokens_and_wake_for_each",
    "run_ttl_secs": "tests/unit/test_trigger.py::test_the_time_to_live",
    "default_run_metadata": "tests/services/test_ticker.py::test_a_tick_makes_a_run",
    "version_policy": "tests/worker/test_breaker.py::test_a_changed_endpoint_is_another_breaker",
    "payload_schema": "tests/api/test_schemas.py::test_a_payload_is_as_the_schema_says",
    "result_schema": "tests/worker/test_endings.py::test_a_result_is_as_the_schema_says",
    "completion": "tests/faults/test_callbacks.py::test_accepted_runs_hold_no_worker",
    "max_cost_per_run_microusd": "tests/api/test_budgets.py::test_usage_adds_up_per_model_and_in_all",
    "dedup_window_secs": "tests/api/test_windows.py::test_the_same_payload_makes_one_run_in_a_window",
    "debounce_window_secs": "tests/api/test_windows.py::test_the_newest_of_debounced_triggers_runs",
    "debounce_max_wait_secs": "tests/api/test_windows.py::test_a_debounced_run_waits_no_longer_than_it_may",
    "batch_window_secs": "tests/api/test_windows.py::test_batched_triggers_are_one_run",
    "batch_max_size": "tests/api/test_windows.py::test_a_full_batch_is_due_at_once",
    "on_complete_trigger_job": "tests/worker/test_completions.py::test_a_completed_run_starts_the_next",
    "on_complete_trigger_workflow": "tests/worker/test_workflow_triggers.py::test_a_completed_run_starts_a_workflow",
    "on_complete_payload_mapping": "tests/worker/test_completions.py::test_a_completed_run_starts_the_next",
    "on_failure_trigger_job": "tests/worker/test_completions.py::test_a_failure_starts_its_own_job",
    "on_failure_trigger_workflow": "tests/worker/test_workflow_triggers.py::test_a_failure_starts_its_own_workflow",
    "on_failure_payload_mapping": "tests/worker/test_completions.py::test_a_failure_hands_on_what_its_mapping_says",
    "cron": "tests/api/test_schedules.py::test_the_next_fires",
    "timezone": "tests/api/test_schedules.py::test_the_next_fires",
    "misfire_policy": "tests/services/test_ticker.py::test_twelve_hours_without_a_daemon",
    "misfire_max_lateness_secs": "tests/services/test_ticker.py::test_too_late_and_too_many",
    "misfire_max_runs": "tests/services/test_ticker.py::test_too_late_and_too_many",
    "overlap_policy": "tests/services/test_ticker.py::test_a_tick_skips_while_a_run_is_active",
    "jitter_secs": "tests/services/test_ticker.py::test_jitter_is_what_the_preview_says",
    "dst_gap": "tests/api/test_schedules.py::test_a_job_says_what_a_change_of_clocks_means",
    "dst_overlap": "tests/api/test_schedules.py::test_a_job_says_what_a_change_of_clocks_means",
    "calendar": "tests/api/test_calendars.py::test_a_schedule_goes_by_its_calendar",
    "calendar_mode": "tests/api/test_calendars.py::test_a_schedule_goes_by_its_calendar",
    "calendar_roll": "tests/api/test_calendars.py::test_a_schedule_goes_by_its_calendar",
    "start_within_secs": "tests/services/test_timekeeper.py::test_a_late_start_and_a_late_end_are_found_once",
    "finish_within_secs": "tests/services/test_timekeeper.py::test_a_late_start_and_a_late_end_are_found_once",
    "expect_every_secs": "tests/services/test_alerts.py::test_an_alert_reaches_its_receiver",
    "alert_webhook_url": "tests/services/test_alerts.py::test_an_alert_reaches_its_receiver",
    "execution_window_cron": "tests/services/test_opener.py::test_a_window_given_to_a_job_with_queued_runs",
}


def test_every_field_is_shown():
    """The definition of a job and this page name the same fields."""
    assert set(SHOWN_BY) == {field.name for field in fields(JobSpec)} - _NAMES


@pytest.mark.parametrize("field", sorted(SHOWN_BY))
def test_what_shows_it_uses_it(field: str):
    """The test is there, and sets that field."""
    path, _, name = SHOWN_BY[field].partition("::")
    (found,) = [one for one in functions((ROOT / path).relative_to(ROOT)) if one.name == name]
    assert field in "\n".join(map(ast.unparse, (found, *found.decorator_list)))
