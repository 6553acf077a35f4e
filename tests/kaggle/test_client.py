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


def test_it_signs_in_with_kaggles_own_token(client):
    assert client.user == USER
    assert limits(client).num_allowed_now == 5


def test_without_credentials_there_is_one_clear_message(home, capsys):
    with pytest.raises(KitError, match="no credentials: create a token") as caught:
        connect()
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


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


def test_a_stall_ends_by_our_time_out_and_is_repeated(client, kaggle):
    kaggle.faults = [Fault("GetSubmissionLimits", "stall")]
    begin = time.monotonic()
    assert limits(client).num_allowed_now == 5
    assert time.monotonic() - begin < kaggle.stall


@pytest.mark.parametrize(
    ("kind", "advice"), [(400, "mend"), (401, "token"), (403, "accept its rules"), (404, "kaggle.yaml")]
)
def test_a_refusal_is_final_and_tells_kaggles_reason(client, kaggle, kind, advice):
    kaggle.faults = [Fault("GetSubmissionLimits", kind, times=9)]
    with pytest.raises(retry.Refused, match=rf"get submission limits: fault {kind} \({kind}\): .*{advice}"):
        limits(client)
    assert kaggle.count("GetSubmissionLimits") == 1


def test_reads_give_up_in_the_end(client, kaggle):
    kaggle.faults = [Fault("GetSubmissionLimits", 503, times=99)]
    with pytest.raises(retry.Unsettled, match="fault 503"):
        limits(client)
    assert kaggle.count("GetSubmissionLimits") == 5


def test_retry_after_is_kept_to(client, kaggle):
    kaggle.faults = [Fault("GetSubmissionLimits", 429, headers={"Retry-After": "1"})]
    begin = time.monotonic()
    limits(client)
    assert time.monotonic() - begin >= 1


def test_a_very_long_retry_after_is_told_at_once(client, kaggle):
    kaggle.faults = [Fault("GetSubmissionLimits", 429, headers={"Retry-After": "Wed, 23 Nov 2126 00:00:00 GMT"})]
    with pytest.raises(retry.Refused, match="too many requests"):
        limits(client)


@pytest.mark.parametrize("kind", [500, 503, "lost", "stall", "text"])
def test_an_act_of_unknown_outcome_is_never_repeated(client, with_kernel, kind):
    with_kernel.faults = [Fault("CreateCodeSubmission", kind)]
    with pytest.raises(retry.Unsettled):
        spend(client)
    assert with_kernel.count("CreateCodeSubmission") == 1


def test_an_act_that_was_rate_limited_is_repeated(client, with_kernel):
    with_kernel.faults = [Fault("CreateCodeSubmission", 429, times=2)]
    assert spend(client).ref == 1000
    assert len(with_kernel.submissions) == 1


def test_no_message_shows_a_credential(client, kaggle):
    kaggle.faults = [Fault("GetSubmissionLimits", 400, body=f"the token {TOKEN} is bad")]
    with pytest.raises(retry.Refused, match=r"the token \*\*\* is bad"):
        limits(client)


def test_nothing_is_printed_even_where_kaggle_is_told_to_be_verbose(kaggle):
    code = (
        "from kit.publish.client import connect\n"
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
