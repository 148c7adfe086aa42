"""New passwords: normalization, length, breaches and strength."""

import random
import string
import time
import unicodedata
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from services.users.__main__ import cli
from services.users.credentials.breached_passwords import BreachedPasswords, FilterInvalid
from services.users.credentials.password_text import normalized
from services.users.credentials.policy import PasswordPolicy, PasswordWeak
from services.users.credentials.state import password_policy
from services.users.settings import PACKAGED_BREACHED_PASSWORDS, Settings
from tests.harness.problems import problem
from tests.users.service import ADA, UsersService

COMPOSED = "crème brûlée à la carte"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


async def sign_up(service: UsersService, password: str, **changes: str) -> tuple[int, str]:
    response = await service.http.post("/v1/users", json=ADA | changes | {"password": password})
    return (201, "") if response.status_code == 201 else problem(response)


@pytest.mark.parametrize(("chosen", "typed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
async def test_a_password_is_the_same_in_every_composition(service: UsersService, chosen: str, typed: str) -> None:
    assert chosen != typed
    await service.sign_up(password=chosen)

    await service.sign_in(password=typed)


def test_spaces_of_all_kinds_are_one_and_case_and_width_stay() -> None:
    assert normalized("a\u00a0b\u3000c\u2003d e") == "a b c d e"
    assert normalized("\uff21") == "\uff21"  # a wide A
    assert normalized("\u212b") == "Å"


async def test_lengths_are_counted_in_code_points_after_normalization(service: UsersService) -> None:
    long = "é" * 118 + "tea leaves"

    assert await sign_up(service, unicodedata.normalize("NFD", "é" * 9)) == (422, "validation_failed")
    assert await sign_up(service, unicodedata.normalize("NFD", f"{long}s")) == (422, "validation_failed")
    assert await sign_up(service, "\u0301\u0316" * 100_000) == (422, "validation_failed")
    assert await sign_up(service, unicodedata.normalize("NFD", long)) == (201, "")
    await service.sign_in(password=long)


@pytest.mark.parametrize("password", ["a fine pass\x07word", "a fine pass\u0378word"])
async def test_characters_that_can_not_be_typed_again_are_refused(service: UsersService, password: str) -> None:
    response = await service.http.post("/v1/users", json=ADA | {"password": password})

    assert problem(response) == (422, "validation_failed")
    assert [(error["pointer"], error["code"]) for error in response.json()["errors"]] == [
        ("/password", "password_character")
    ]


@pytest.mark.parametrize(
    "password", ["1234567890", "qwertyuiop", "Password123", "PASSWORD123", "1q2w3e4r5t", "iloveyou12", "liverpoolfc"]
)
async def test_a_breached_password_is_refused_in_any_case(service: UsersService, password: str) -> None:
    response = await service.http.post("/v1/users", json=ADA | {"password": password})

    assert problem(response) == (422, "password_breached")
    assert response.json()["detail"] == "Attackers try such passwords first. Choose one that you use nowhere else."
    assert password not in response.text


@pytest.mark.parametrize(
    "password",
    [
        "zqzqzqzqzqzqzqzqzq",
        "Ada Lovelace!",
        "ada@orderly.example",
        "abcdefghijklmnop!",
        "p4ssw0rd!!!!1",
    ],
)
async def test_a_password_that_is_easy_to_guess_is_refused_with_advice(service: UsersService, password: str) -> None:
    response = await service.http.post("/v1/users", json=ADA | {"password": password})

    assert problem(response) == (422, "password_weak")
    assert response.json()["detail"].startswith("Use several uncommon words, or let a password manager make the")
    assert password not in response.text


@pytest.mark.parametrize("password", ["tulip harbour 93", "a" * 24 + "xK9#mQ2$vL", "ζυμωτό ψωμί", "vQ7-pLx2-nR"])
async def test_a_good_password_is_accepted(service: UsersService, password: str) -> None:
    assert await sign_up(service, password) == (201, "")


def test_no_generated_password_is_refused(settings: Settings) -> None:
    policy, rng = password_policy(settings), random.Random(1)  # noqa: S311 - reproducible

    for _ in range(3_000):
        policy.check(SecretStr("".join(rng.choices(string.ascii_letters + string.digits, k=18))), personal=())


async def test_the_required_strength_is_a_setting(settings: Settings) -> None:
    strict = password_policy(settings.model_copy(update={"password_min_strength": 4}))
    fair = SecretStr("another password")  # a score of 3

    password_policy(settings).check(fair, personal=())
    with pytest.raises(PasswordWeak):
        strict.check(fair, personal=())


def test_the_estimate_of_the_worst_input_takes_less_than_a_stall_may() -> None:
    policy = PasswordPolicy(BreachedPasswords.load(PACKAGED_BREACHED_PASSWORDS), min_strength=5)
    rng = random.Random(1)  # noqa: S311 - reproducible
    spellings = ["".join(rng.choices("@4({[<680!1|l7+5$%2", k=128)) for _ in range(10)]
    seconds = []
    for password in [*spellings, "a" * 128, "1/1/11" * 21, "password" * 16]:
        started_at = time.thread_time()
        with pytest.raises(PasswordWeak):
            policy.check(SecretStr(password), personal=["a" * 254, "b" * 200])
        seconds.append(time.thread_time() - started_at)

    assert max(seconds) < 0.05


def test_the_filter_of_breached_passwords_refuses_few_others() -> None:
    breached = BreachedPasswords.load(PACKAGED_BREACHED_PASSWORDS)
    rng = random.Random(1)  # noqa: S311 - reproducible
    others = ["".join(rng.choices(string.ascii_letters + string.digits, k=14)) for _ in range(20_000)]

    refused = sum(other in breached for other in others)

    assert PACKAGED_BREACHED_PASSWORDS.stat().st_size < 200_000
    assert 5 <= refused <= 50  # 25 at the rate of 0.125 %


def test_a_filter_of_an_own_list_is_built_by_a_command(tmp_path: Path) -> None:
    words, file, again = tmp_path / "words", tmp_path / "filter", tmp_path / "again"
    words.write_text("Orderly2026!\nŻółta Łódka\nshort\r\n", encoding="utf-8")
    for output in (file, again):
        result = CliRunner().invoke(cli, ["passwords", "build-filter", str(words), str(output)])
        assert result.exit_code == 0, result.output

    breached = BreachedPasswords.load(file)
    assert file.read_bytes() == again.read_bytes()
    assert "orderly2026!" in breached
    assert "żółta łódka" in breached
    assert "short" not in breached
    with pytest.raises(FilterInvalid):
        BreachedPasswords.load(words)
