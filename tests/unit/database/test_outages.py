"""Which errors of the database say that it is away, and which that the work is wrong."""

from __future__ import annotations

import pytest
from psycopg import errors

from pipeline.database.engine import is_outage

AWAY = (
    *("AdminShutdown", "CrashShutdown", "CannotConnectNow", "DatabaseDropped", "QueryCanceled", "IdleSessionTimeout"),
    *("SerializationFailure", "DeadlockDetected", "LockNotAvailable", "TransactionRollback"),
    *("DiskFull", "OutOfMemory", "TooManyConnections", "ConfigurationLimitExceeded"),
    *("ConnectionException", "ConnectionFailure", "SqlclientUnableToEstablishSqlconnection"),
    *("ReadOnlySqlTransaction", "IdleInTransactionSessionTimeout", "TransactionTimeout"),
    *("SystemError", "IoError", "UndefinedFile", "DataCorrupted", "IndexCorrupted", "SnapshotTooOld"),
    *("ConfigFileError", "LockFileExists", "InvalidSqlStatementName"),
    *("InvalidPassword", "InvalidAuthorizationSpecification", "InvalidCatalogName", "InvalidSchemaName"),
    *("UndefinedTable", "UndefinedColumn", "UndefinedFunction", "UndefinedObject", "InvalidColumnReference"),
    "InsufficientPrivilege",
)
WRONG = (
    *("UniqueViolation", "CheckViolation", "NotNullViolation", "ForeignKeyViolation", "ExclusionViolation"),
    *("NumericValueOutOfRange", "StringDataRightTruncation", "InvalidTextRepresentation", "UntranslatableCharacter"),
    *("DatetimeFieldOverflow", "DivisionByZero", "CharacterNotInRepertoire", "InvalidBinaryRepresentation"),
    *("SyntaxError", "DatatypeMismatch", "AmbiguousColumn", "FeatureNotSupported", "InFailedSqlTransaction"),
    *("ProgramLimitExceeded", "StatementTooComplex", "RaiseException", "InternalError_", "ActiveSqlTransaction"),
    *("ObjectNotInPrerequisiteState", "ObjectInUse", "CardinalityViolation", "DuplicateTable"),
)


@pytest.mark.parametrize("name", AWAY)
def test_the_database_is_away(name):
    """No attempt is spent: the batch waits, and the ingestor goes on by itself."""
    assert is_outage(getattr(errors, name)("x"))


@pytest.mark.parametrize("name", WRONG)
def test_the_work_is_wrong(name):
    """Trying it again would not help: the record is found and set aside."""
    assert not is_outage(getattr(errors, name)("x"))
