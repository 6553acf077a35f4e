import base64
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kaggle_server import TOKEN, USER, Fault
from kagglesdk.competitions.types.competition_api_service import (
    ApiCreateCodeSubmissionRequest,
    ApiGetSubmissionLimitsRequest,
)

from kit.core.errors import KitError
from kit.kaggle import client as client_module
from kit.kaggle import retry
from kit.kaggle.client import connect


def limits(client):
    request = ApiGetSubmissionLimitsRequest()
    request.competition_name = "siim"
    return client.read(client.competitions.get_submission_limits, request)


def spend(client):
    request = ApiCreateCodeSubmissionRequest()
    request.kernel_owner, request.kernel_slug, request.kernel_version = "ada", "kernel", 1
    request.file_name, request.submission_description = "submission.csv", "d"
    return client.act(client.competitions.create_code_submission, request)


@pytest.fixture
def with_kernel(kaggle):
    kaggle.kernels["ada/kernel"] = [{"output": {"submission.csv": b"x"}}]
    return kaggle


def test_signing_in_with_kaggles_own_token(client):
    assert client.user == USER
    assert limits(client).num_allowed_now == 5


def test_missing_credentials_are_one_clear_message(home, capsys):
    with pytest.raises(KitError, match="no credentials: create a token") as caught:
        connect()
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_long_token_never_appears_as_a_file_name(kaggle, impatient, monkeypatch, capsys):
    token = "KGAT_" + "s3cret" * 60
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    with pytest.raises(KitError) as caught:
        limits(connect())
    assert "s3cret" not in str(caught.value) + "".join(capsys.readouterr())
    assert "\n" not in str(caught.value)


def test_a_rejected_key_is_explained(kaggle, impatient, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "a-wrong-key")
    with pytest.raises(retry.Refused, match=r"Unauthenticated \(401\): create a new token"):
        limits(connect())


@pytest.mark.parametrize("kind", [429, 500, 502, 503, "cut", "html", "text", "lost"])
def test_reads_are_repeated(client, kaggle, kind):
    kaggle.faults = [Fault("GetSubmissionLimits", kind, times=2)]
    assert limits(client).num_allowed_now == 5
    assert kaggle.count("GetSubmissionLimits") == 3


def test_a_stalled_read_times_out_and_is_repeated(client, kaggle):
    kaggle.faults = [Fault("GetSubmissionLimits", "stall")]
    begin = time.monotonic()
    assert limits(client).num_allowed_now == 5
    assert time.monotonic() - begin < kaggle.stall


@pytest.mark.parametrize(
    ("kind", "advice"),
    [(400, "correct what it names"), (401, "token"), (403, "accept the rules"), (404, "kaggle.yaml")],
)
def test_a_refusal_is_final_and_gives_kaggles_reason(client, kaggle, kind, advice):
    kaggle.faults = [Fault("GetSubmissionLimits", kind, times=9)]
    with pytest.raises(retry.Refused, match=rf"limits \(competition siim\): fault {kind} \({kind}\): .*{advice}"):
        limits(client)
    assert kaggle.count("GetSubmissionLimits") == 1


def test_reads_give_up_after_the_last_attempt(client, kaggle):
    kaggle.faults = [Fault("GetSubmissionLimits", 503, times=99)]
    with pytest.raises(retry.Unsettled, match="fault 503"):
        limits(client)
    assert kaggle.count("GetSubmissionLimits") == 5


def test_a_very_long_retry_after_fails_at_once(client, kaggle):
    kaggle.faults = [Fault("GetSubmissionLimits", 429, headers={"Retry-After": "Wed, 23 Nov 2126 00:00:00 GMT"})]
    with pytest.raises(retry.Refused, match="too many requests"):
        limits(client)


@pytest.mark.parametrize("kind", [500, 503, "lost", "stall", "text"])
def test_a_request_of_unknown_outcome_is_never_repeated(client, with_kernel, kind):
    with_kernel.faults = [Fault("CreateCodeSubmission", kind)]
    with pytest.raises(retry.Unsettled):
        spend(client)
    assert with_kernel.count("CreateCodeSubmission") == 1


def test_a_rate_limited_request_is_repeated(client, with_kernel):
    with_kernel.faults = [Fault("CreateCodeSubmission", 429, times=2)]
    assert spend(client).ref == 1000
    assert len(with_kernel.submissions) == 1


@pytest.mark.parametrize("method", ["IntrospectToken", "GetSubmissionLimits"])
@pytest.mark.parametrize("status", [400, 500])
def test_no_message_shows_an_echoed_credential(kaggle, impatient, method, status):
    kaggle.faults = [Fault(method, "echo" if status == 400 else status, times=9, body=f"the token {TOKEN} is bad")]
    with pytest.raises(KitError) as caught:
        limits(connect())
    assert TOKEN not in str(caught.value)


def test_a_key_is_masked_like_a_token(kaggle, impatient, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "0123456789abcdef-the-key")
    kaggle.faults = [
        Fault("GetSubmissionLimits", "echo"),
        Fault("GetSubmissionLimits", 400, body="0123456789abcdef-the-key"),
    ]
    for _ in range(2):
        with pytest.raises(retry.Refused, match=r"\*\*\*") as caught:
            limits(connect())
        basic = base64.b64encode(b"ada:0123456789abcdef-the-key").decode()
        assert not [text for text in (basic, "0123456789abcdef-the-key") if text in str(caught.value)]


def test_the_message_names_the_place_of_an_expired_token(kaggle, home, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_expired")
    with pytest.raises(KitError, match=r"the token in KAGGLE_API_TOKEN is not accepted \(expired or revoked\)"):
        connect()
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "access_token").write_text("KGAT_expired")
    with pytest.raises(KitError, match=r"the token in .*access_token is not accepted"):
        connect()


@pytest.mark.parametrize(
    ("content", "problem"), [("{", "is not JSON"), ("{}", "has no username and no key"), ("[]", "has no username")]
)
def test_a_malformed_key_file_is_reported(home, content, problem):
    (home / "kaggle.json").write_text(content)
    with pytest.raises(KitError, match=f"kaggle.json {problem}"):
        connect()


def test_a_valid_key_is_used_where_a_token_is_rejected(kaggle, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_expired")
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "0123456789abcdef-the-key")
    with pytest.raises(retry.Refused, match="Unauthenticated"):
        limits(connect())
    assert kaggle.authorizations[-1].startswith("Basic ")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b" \n", "the token in .*access_token is empty"), ("\ufeffKGAT_x".encode(), "such as a byte order mark")],
)
def test_an_invalid_token_is_reported_without_a_request(kaggle, home, monkeypatch, content, problem):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "access_token").write_bytes(content)
    with pytest.raises(KitError, match=problem):
        connect()
    assert kaggle.log == []


def test_a_credential_file_that_others_can_read_is_reported(kaggle, home, caplog):
    (home / ".kaggle").mkdir()
    path = home / ".kaggle" / "access_token"
    path.write_text(TOKEN)
    path.chmod(0o644)
    connect()
    assert f"chmod 600 {path}" in caplog.text
    path.chmod(0o600)
    caplog.clear()
    connect()
    assert "chmod" not in caplog.text


def test_another_version_of_the_client_is_refused(home, monkeypatch):
    monkeypatch.setitem(client_module.PINNED, "kaggle", "2.2.5")
    with pytest.raises(KitError, match=r"2\.2\.5 is needed: pip install -r requirements.txt"):
        connect()


@pytest.mark.parametrize(
    "reason",
    [
        "This competition only accepts Submissions from Notebooks.",
        "Submissions to this competition must be made through Kaggle Notebooks",
    ],
)
@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_by_a_notebooks_only_competition_says_what_to_do(client, kaggle, reason, status):
    kaggle.faults = [Fault("GetSubmissionLimits", status, body=reason)]
    with pytest.raises(retry.Refused, match="`make kernel kernel-check`, then `make push`"):
        limits(client)


def test_nothing_is_printed_even_if_kaggle_is_set_to_be_verbose(kaggle):
    code = (
        "from kit.kaggle.client import connect\n"
        "from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionLimitsRequest as R\n"
        "client = connect()\nclient.read(client.competitions.get_submission_limits, R())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"VERBOSE": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
