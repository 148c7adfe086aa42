"""Authenticator apps, recovery codes, and the second step of a sign-in."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pyotp
import sqlalchemy as sa

from services.users.models.second_factors import RecoveryCode, Totp
from services.users.second_factors.codes import delay_after, matching_step
from tests.harness.databases import until_waiting
from tests.harness.problems import problem
from tests.users.second_factors import User
from tests.users.service import UsersService, bearer

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STEP = 59_000_000
WITHOUT_SECOND_FACTOR = {"password": True, "totp": False, "passkeys": 0, "recovery_codes": 0}


def code_of(step: int) -> str:
    return pyotp.TOTP(SECRET).generate_otp(step)


async def test_an_app_has_no_effect_before_it_is_confirmed(ada: User) -> None:
    started = (await ada.call("POST", "/totp")).json()

    query = parse_qs(urlsplit(started["uri"]).query)
    assert (query["secret"], query["issuer"]) == ([started["secret"]], ["Orderly"])
    assert (await ada.sign_in()).status_code == 201
    assert await ada.methods() == WITHOUT_SECOND_FACTOR
    wrong = await ada.call("POST", "/totp/confirmation", {"code": "000000"})
    assert problem(wrong) == (422, "code_wrong")


async def test_a_password_alone_does_not_sign_in_with_an_app(ada: User) -> None:
    await ada.add_totp()

    response = await ada.sign_in()

    assert problem(response) == (401, "second_factor_required")
    body = response.json()
    assert body["methods"] == ["otp", "rc"]
    tokens = await ada.answer(body["challenge"], code=ada.code())
    assert (tokens.status_code, tokens.headers["cache-control"]) == (201, "no-store")
    me = await ada.service.http.get("/v1/users/me", headers=bearer(tokens.json()))
    assert me.json()["id"] == ada.id
    assert problem(await ada.answer(body["challenge"], code=ada.code())) == (401, "challenge_invalid")


async def test_adding_and_removing_an_app_is_recorded_and_told(ada: User) -> None:
    await ada.add_totp()
    assert await ada.methods() == {"password": True, "totp": True, "passkeys": 0, "recovery_codes": 10}

    assert (await ada.call("DELETE", "/totp")).status_code == 204

    assert await ada.methods() == WITHOUT_SECOND_FACTOR
    assert (await ada.sign_in()).status_code == 201
    assert problem(await ada.call("DELETE", "/totp")) == (404, "totp_not_found")
    assert await ada.record() == [
        ("second_factor_added", {"change": "totp_added"}),
        ("second_factor_removed", {"change": "totp_removed"}),
    ]
    events = await ada.service.events()
    assert [(type_, data["change"]) for type_, data in events] == [
        ("user.second_factor_changed", "totp_added"),
        ("user.second_factor_changed", "totp_removed"),
    ]


async def test_a_confirmed_app_is_not_replaced(ada: User) -> None:
    await ada.add_totp()

    assert problem(await ada.call("POST", "/totp")) == (409, "totp_exists")
    again = await ada.call("POST", "/totp/confirmation", {"code": ada.code()})
    assert problem(again) == (404, "totp_not_found")


async def test_the_secret_is_not_in_the_database(ada: User) -> None:
    await ada.add_totp()

    async with ada.service.sessions() as session:
        stored = await session.scalar(sa.select(Totp.encrypted_secret))
        hashes = list(await session.scalars(sa.select(RecoveryCode.code_hash)))
    assert stored is not None
    assert ada.secret not in stored
    assert ada.service.app.state.encryption.decrypt(stored).decode() == ada.secret
    assert [len(each) for each in hashes] == [32] * 10


async def test_a_wrong_and_a_used_code_get_the_same_error(ada: User) -> None:
    await ada.add_totp()
    challenge, code = await ada.challenge(), ada.code()
    assert (await ada.answer(challenge, code=code)).status_code == 201

    used = await ada.answer(await ada.challenge(), code=code)
    wrong = await ada.answer(await ada.challenge(), code=ada.wrong_code())

    assert problem(used) == problem(wrong) == (401, "second_factor_invalid")
    assert used.json()["title"] == wrong.json()["title"]
    assert (await ada.record())[1:] == [("sign_in_failed", {"method": "otp"})] * 2


async def test_of_simultaneous_uses_of_a_code_one_signs_in(ada: User) -> None:
    await ada.add_totp()
    challenges, code = [await ada.challenge() for _ in range(3)], ada.code()

    async with ada.service.sessions.begin() as session:
        await session.execute(sa.select(Totp).with_for_update())
        answers = asyncio.gather(*(ada.answer(challenge, code=code) for challenge in challenges))
        await until_waiting(ada.service.sessions, transactions=3)

    assert sorted(response.status_code for response in await answers) == [201, 401, 401]


async def test_a_challenge_takes_five_answers(ada: User) -> None:
    await ada.add_totp()
    challenge = await ada.challenge()
    for _ in range(5):
        wrong = await ada.answer(challenge, recovery_code="AAAA-AAAA-AAAA-AAAA")
        assert problem(wrong) == (401, "second_factor_invalid")

    assert problem(await ada.answer(challenge, code=ada.code())) == (401, "challenge_invalid")


async def test_a_challenge_expires(ada: User) -> None:
    await ada.add_totp()
    challenge = await ada.challenge()
    await ada.execute("UPDATE sign_in_challenge SET expires_at = now()")

    assert problem(await ada.answer(challenge, code=ada.code())) == (401, "challenge_invalid")


async def test_after_too_many_wrong_codes_none_is_checked_for_a_while(ada: User) -> None:
    await ada.add_totp()
    challenge = await ada.challenge()
    for _ in range(5):
        await ada.answer(challenge, code=ada.wrong_code())
    challenge = await ada.challenge()

    blocked = await ada.answer(challenge, code=ada.code())

    assert problem(blocked) == (429, "too_many_codes")
    assert 0 < int(blocked.headers["retry-after"]) <= 10
    assert (await ada.answer(challenge, recovery_code=ada.recovery_codes[0])).status_code == 201
    await ada.execute("UPDATE totp SET blocked_until = now()")
    ada.used_steps = 1
    assert (await ada.answer(await ada.challenge(), code=ada.code())).status_code == 201
    async with ada.service.sessions() as session:
        assert await session.scalar(sa.select(Totp.wrong_codes)) == 0


async def test_a_recovery_code_works_once(ada: User) -> None:
    await ada.add_totp()
    typed = ada.recovery_codes[3].lower().replace("-", " ")

    first = await ada.answer(await ada.challenge(), recovery_code=typed)
    second = await ada.answer(await ada.challenge(), recovery_code=ada.recovery_codes[3])

    assert first.status_code == 201
    assert problem(second) == (401, "second_factor_invalid")
    assert (await ada.methods())["recovery_codes"] == 9
    assert (await ada.service.events())[1][1]["change"] == "recovery_code_used"


async def test_new_recovery_codes_replace_the_old_ones(ada: User) -> None:
    assert problem(await ada.call("POST", "/recovery-codes")) == (409, "second_factor_missing")
    await ada.add_totp()

    new = (await ada.call("POST", "/recovery-codes")).json()["recovery_codes"]

    assert len(set(new)) == 10
    old = await ada.answer(await ada.challenge(), recovery_code=ada.recovery_codes[0])
    assert problem(old) == (401, "second_factor_invalid")
    assert (await ada.answer(await ada.challenge(), recovery_code=new[0])).status_code == 201


async def test_a_suspended_account_does_not_sign_in_with_a_second_factor(ada: User) -> None:
    await ada.add_totp()
    challenge = await ada.challenge()
    await ada.execute("UPDATE user_account SET status = 'suspended'")

    assert problem(await ada.answer(challenge, code=ada.code())) == (403, "account_inactive")
    assert problem(await ada.sign_in()) == (403, "account_inactive")


async def test_an_answer_that_is_not_one_proof_is_rejected(service: UsersService) -> None:
    two = {"code": "123456", "recovery_code": "AAAA-AAAA-AAAA-AAAA"}
    for proof in ({}, two, {"code": None}, {"code": "12345"}, {"code": "١٢٣٤٥٦"}, {"code": 123456}):
        response = await service.http.post("/v1/sessions/second-factor", json={"challenge": "any", **proof})
        assert problem(response) == (422, "validation_failed"), proof


def test_a_code_of_the_step_before_or_after_is_accepted() -> None:
    at = STEP * 30 + 17.5
    matching = [matching_step(SECRET, code_of(STEP + offset), at=at, after=None) for offset in range(-2, 3)]
    assert matching == [None, STEP - 1, STEP, STEP + 1, None]


def test_a_code_older_than_the_last_one_is_refused() -> None:
    matching = [matching_step(SECRET, code_of(STEP + offset), at=STEP * 30, after=STEP) for offset in (-1, 0, 1)]
    assert matching == [None, None, STEP + 1]


def test_the_delay_grows_up_to_a_bound() -> None:
    delays = [delay_after(wrong_codes).total_seconds() for wrong_codes in (1, 4, 5, 6, 7, 11, 12, 1_000_000)]
    assert delays == [0, 0, 10, 20, 40, 640, 900, 900]
