"""S3's own words decide what an error is of: the file, credentials, the call, the moment."""

import json

import pytest

from schemas.call_errors import describe, fact_of, is_lasting
from schemas.remote import LastingFault, NotRead, RemoteConfig, retry

exceptions = pytest.importorskip("botocore.exceptions")
s3fs_errors = pytest.importorskip("s3fs.errors")
QUICK = RemoteConfig(attempts=3, pause_s=0.001)
SIGNED = "see https://user:SECRET@host/x?X-Amz-Signature=SECRET"


def answer(code, status, message=SIGNED):
    said = {"Error": {"Code": code, "Message": message}}
    about = {"ResponseMetadata": {"HTTPStatusCode": status}}
    return s3fs_errors.translate_boto_error(exceptions.ClientError({**said, **about}, "PutObject"))


def kind_of(error):
    if fact_of(error) is not None:
        return type(fact_of(error))
    return "lasting" if is_lasting(error) else "passing"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, FileNotFoundError),
        ("404", 404, FileNotFoundError),
        ("AccessDenied", 403, PermissionError),
        ("403", 403, PermissionError),
        ("InvalidObjectState", 403, PermissionError),  # in an archive
        ("PreconditionFailed", 412, FileExistsError),
        ("ExpiredToken", 400, "passing"),
        ("RequestTimeTooSkewed", 403, "passing"),
        ("400", 400, "passing"),
        ("RequestTimeout", 400, "passing"),
        ("XAmzContentSHA256Mismatch", 400, "passing"),
        ("ConditionalRequestConflict", 409, "passing"),
        ("NoSuchUpload", 404, "passing"),
        ("SlowDown", 503, "passing"),
        ("InternalError", 500, "passing"),
        ("PermanentRedirect", 301, "lasting"),
        ("AuthorizationHeaderMalformed", 400, "lasting"),
        ("InvalidBucketName", 400, "lasting"),
        ("InvalidToken", 400, "lasting"),
        ("InvalidAccessKeyId", 403, "lasting"),
        ("SignatureDoesNotMatch", 403, "lasting"),
        ("QuotaExceeded", 403, "lasting"),
        ("KMS.DisabledException", 400, "lasting"),
    ],
)
def test_an_answer_is_what_its_code_says(code, status, kind):
    error = answer(code, status)
    assert kind_of(error) == kind
    assert "SECRET" not in describe(error) + str(fact_of(error))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.NoCredentialsError(), "passing"),
        (exceptions.CredentialRetrievalError(provider="role", error_msg="timed out"), "passing"),
        (exceptions.ParamValidationError(report="bucket name"), "lasting"),
        (exceptions.ProfileNotFound(profile="x"), "lasting"),
        (ValueError(SIGNED), "lasting"),
        (TypeError("unexpected keyword"), "lasting"),
        (json.JSONDecodeError("an answer that was cut", "{", 1), "passing"),
        (TimeoutError(), "passing"),
    ],
)
def test_errors_without_an_answer_are_told_apart_too(error, kind):
    assert kind_of(error) == kind
    assert "SECRET" not in describe(error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (answer("ExpiredToken", 400), "credentials: expired token"),
        (answer("RequestTimeTooSkewed", 403), "credentials: this machine's clock"),
        (answer("QuotaExceeded", 403, "10 GiB are\nused"), "QuotaExceeded: 10 GiB are used"),
        (answer("AuthorizationHeaderMalformed", 400, "expecting 'eu-west-1'"), "'eu-west-1'"),
        (exceptions.ParamValidationError(report='Invalid bucket name "A_"'), "bucket name"),
    ],
)
def test_the_reason_is_in_the_stores_own_words(error, words):
    assert words in describe(error)


def call(error, times=99):
    asked = []

    def action():
        asked.append(1)
        if len(asked) <= times:
            raise error
        return "done"

    return asked, lambda: retry(action, QUICK)


def test_what_lasts_is_asked_for_once_and_says_nothing_of_the_file():
    for error in (answer("QuotaExceeded", 403), ValueError("a name"), TypeError("a call")):
        asked, ask = call(error)
        with pytest.raises(LastingFault):
            ask()
        assert len(asked) == 1


def test_credentials_that_come_back_cost_nothing_but_patience():
    retry(lambda: "some server has answered", QUICK)
    for error in (answer("ExpiredToken", 400), exceptions.NoCredentialsError()):
        asked, ask = call(error, times=2)
        assert ask() == "done"
        asked, ask = call(error)
        with pytest.raises(NotRead, match=r"credentials.*, after 3 attempts") as told:
            ask()
        assert not isinstance(told.value, LastingFault)
        assert len(asked) == 3


def test_where_nothing_was_ever_read_missing_credentials_are_said_soon(monkeypatch):
    monkeypatch.setattr("schemas.remote._answered", [])
    asked, ask = call(exceptions.NoCredentialsError())
    with pytest.raises(NotRead, match=r"no credentials \(NoCredentialsError\), after 2 attempts"):
        ask()
    assert len(asked) == 2
