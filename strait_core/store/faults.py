"""What PostgreSQL may refuse, under the names that the rest of Strait knows: psycopg itself stays inside the store."""

from __future__ import annotations

from psycopg import DataError, IntegrityError, OperationalError, Rollback
from psycopg import Error as Refused
from psycopg.errors import (
    CheckViolation,
    DataCorrupted,
    DeadlockDetected,
    IndexCorrupted,
    InsufficientPrivilege,
    InternalError_,
    InvalidSchemaName,
    LockNotAvailable,
    ReadOnlySqlTransaction,
    SerializationFailure,
    UndefinedColumn,
    UndefinedFunction,
    UndefinedTable,
    UniqueViolation,
)

# Refused: anything the database says no to. Broken, one kind of it: the connection is gone, or the server cannot now:
# it has no room, may not write, or has a fault of its own (a file that may not grow is an internal error to it).
Broken = (
    OperationalError,
    InternalError_,
    DataCorrupted,
    IndexCorrupted,
    ReadOnlySqlTransaction,
    InsufficientPrivilege,
)
# Clash: two transactions in each other's way; the same statement may simply be sent again.
Clash = (DeadlockDetected, SerializationFailure)
# Held: somebody else has held what is needed for as long as the transaction wanted to wait (`pool.wait_at_most`).
Held = LockNotAvailable
# Taken: a name that must be unique is in use.
Taken = UniqueViolation
# BadData: what was said of a row, not of the server, so the other rows of a batch may pass without it.
BadData = (DataError, IntegrityError)
# MissingPartition, one kind of it: a row for a week that has no partition yet.
MissingPartition = CheckViolation
# Missing: a statement names what the database does not have; its migrations are not this program's.
Missing = (InvalidSchemaName, UndefinedTable, UndefinedColumn, UndefinedFunction)

__all__ = ["BadData", "Broken", "Clash", "Held", "Missing", "MissingPartition", "Refused", "Rollback", "Taken"]
