"""Personal data can be read with its user's key, and with no other."""

import json
from base64 import urlsafe_b64decode
from uuid import UUID

import pytest

from shared.personal_data import PersonalData, SealedDataInvalid, new_personal_key, seal, unseal

USER_ID = UUID("0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11")


class Contact(PersonalData):
    email: str
    phone: str | None = None


def test_sealed_data_are_opened_with_the_key() -> None:
    key = new_personal_key()
    sealed = seal(Contact(email="ada@orderly.example"), key=key, user_id=USER_ID)

    assert "ada" not in sealed
    assert unseal(sealed, key=key, model=Contact) == Contact(email="ada@orderly.example")


def test_data_of_the_size_of_the_largest_event_are_opened() -> None:
    key, large = new_personal_key(), Contact(email="x" * 390_000)  # 520 KB once sealed

    assert unseal(seal(large, key=key, user_id=USER_ID), key=key, model=Contact) == large


def test_the_header_names_the_user_whose_key_opens_the_data() -> None:
    sealed = seal(Contact(email="ada@orderly.example"), key=new_personal_key(), user_id=USER_ID)

    assert json.loads(urlsafe_b64decode(sealed.partition(".")[0] + "==")) == {
        "alg": "dir",
        "enc": "A256GCM",
        "kid": str(USER_ID),
    }


@pytest.mark.parametrize("damage", ["", "no.jwe", "{cut}", "{changed}"])
def test_damaged_data_are_refused(damage: str) -> None:
    key = new_personal_key()
    sealed = seal(Contact(email="ada@orderly.example"), key=key, user_id=USER_ID)
    damaged = damage.format(cut=sealed[:-4], changed=sealed[:-1] + ("A" if sealed[-1] != "A" else "Q"))

    with pytest.raises(SealedDataInvalid):
        unseal(damaged, key=key, model=Contact)


def test_another_key_opens_nothing() -> None:
    sealed = seal(Contact(email="ada@orderly.example"), key=new_personal_key(), user_id=USER_ID)

    with pytest.raises(SealedDataInvalid):
        unseal(sealed, key=new_personal_key(), model=Contact)
