"""What may not leave a machine is seen, and what is no secret is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bundle.leaks import clean, leak, secret
from harness.chips.items import redacted


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("hf_" + "a" * 30, "Hugging Face"),
        ("ghp_" + "b" * 36, "GitHub"),
        ("AKIA" + "Q" * 16, "cloud"),
        ("Authorization: Bearer abc.def-ghi_jkl", "authorisation"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "signed token"),
        ("-----BEGIN RSA PRIVATE KEY-----", "private key"),
        ("https://host/x?sv=1&sig=Zm9vYmFy", "signature"),
        ("https://host/x%3Fsig%3DZm9vYmFyZm9v", "signature"),
        ("subscription-key=0123456789abcdef", "key"),
        ("PC_SDK_SUBSCRIPTION_KEY=0123456789abcdef", "key"),
        ("--hub-token abcdefgh", "key"),
        ("password=open-sesame", "password"),
        ("password: open-sesame-1", "password"),
        ("{'api_key': '0123456789abcdef'}", "key"),
        ("private_key: abc12345x", "key"),
        ("token: abcdef123456", "key"),
        ("https://host/x?accessToken=abcdefgh", "signature"),
        ("https://host/x?X-Amz-Signature=deadbeef", "signature"),
        ("https://host/x?Expires=1&Signature=AbCdEf&Key-Pair-Id=APKAEXAMPLE", "signature"),
        ("Authorization: Token abcdefghijkl", "authorisation"),
        ("http://ann:secret@proxy:3128", "password in an address"),
    ],
)
def test_secrets_are_seen_wherever_they_stand(text: str, kind: str) -> None:
    for around in (text, f"refused: {text}; try again", f"({text})"):
        found = secret(around)
        assert found is not None, around
        assert leak({"a": [{"b": around}]}) is not None
    assert kind.lower() in str(secret(text)).lower()


@pytest.mark.parametrize(
    "text",
    [
        *("secret: sha256:0a1b2c3d4e", "password: ${PASS1234}", "Secret: 2026-11-21", "secret: 0.5518 of chips"),
        *("password:\n  file_2024.tif", "token: 4096"),
        *("secret: none was given", "password: [removed]", "access key: see the manual"),
        *("tokens: sampled", "token=[token removed]", "http://***@proxy:3128", "https://host/x?..."),
        *(
            "harness reproduce --source files --chips my-chips",
            "24 of 24 LoRA pairs",
            "key_norm.weight",
            "N/A",
            "and/or",
        ),
        *("an import set float32 products to 'medium'; put back to 'highest'", "S2L2A: raw DN / 10000", "1/2/3"),
        *("float16 and (bfloat16)/float32", "cuda: NVIDIA H200", "https://planetarycomputer.microsoft.com/api/stac/v1"),
        *("km/h", "S2/S1", "at 10 km/h, 3 m/s / 2", "eval/runs/x/run.json", "TP/(TP+FP)/2", "S1RTC:VV/VH/x", "~1/2/3"),
        *("s3://bucket/a/b.tif", "https://host/home/x, https://host/Users/y: z", "tree // built", "(2021)/10 m/px"),
        *("mps: Apple M2", "2026-01-02T03:04:05+00:00", "module.encoder.blocks.0/attn", "../relative/path"),
    ],
)
def test_plain_texts_are_left_alone(text: str) -> None:
    assert secret(text) is None
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("/home/ann/chips/x.tif: unreadable", "<path>/x.tif: unreadable"),
        ("--chips /home/ann", "--chips <path>"),
        ("--chips '/Users/Ann Smith/My Chips' --greedy", "--chips '<path>/My_Chips' --greedy"),
        ("/Users/Ann Smith/x/y.tif is gone", "<path>/y.tif is gone"),
        ("C:\\Users\\Ann\\x.tif", "<path>/x.tif"),
        ("C:/Users/Ann", "<path>"),
        ("\\\\server\\share\\ann\\x.tif", "<path>/x.tif"),
        ("file:///home/ann/x.tif", "<path>/x.tif"),
        ("~/chips/x.tif", "<path>/x.tif"),
        ("https://u:p@host/a/b?key=1 and", "https://***@host/a/b?... and"),
        ("at /opt/venv/lib/python3.11/site-packages/torch/x.py, line", "at <path>/x.py, line"),
        (
            "/Volumes/Ann Example Private/project-x/chips/bronx.tif: cannot be read; HDF5:/mnt/ann/secret/x.h5 failed",
            "<path>/bronx.tif: cannot be read; HDF5:<path>/x.h5 failed",
        ),
        ("//server/share/ann/x", "<path>/x"),
        ("~ann/x/y", "<path>/y"),
        ("zip:///mnt/ann/x.zip", "<path>/x.zip"),
        ("-I/mnt/ann/x and %2Fhome%2Fann%2Fx", "-I<path>/x"),
        ("/mnt/Ann Example's disk/x/My Maps", "<path>"),
        ("--chips '/mnt/Ann'\"'\"'s disk/x y/z' --device mps", "--chips '<path>/z' --device mps"),
        ("--chips=/mnt/Ann Example/x y/z --device mps", "--chips=<path>/z --device mps"),
        ("<path>/mnt/ann/x: and <path>/x.tif", "<path><path>/x: and <path>/x.tif"),
    ],
)
def test_paths_passwords_and_queries_are_taken_out(text: str, out: str) -> None:
    assert clean(text, "/Users/Ann Smith") == out


@given(st.text(alphabet=st.sampled_from("ab/\\ '\":;,.~<>?@()Chome-_=")))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean(text, "/home/ab")
    assert clean(once, "/home/ab") == once
    assert clean(once) == once
    assert "/home/a" not in once.replace("://", "")


@given(st.sampled_from(["sig", "SIG", "skoid", "sktid"]), st.text("abcXYZ019%+", min_size=8), st.sampled_from("?& '("))
def test_every_signature_that_locks_and_logs_take_out_is_seen_here(name: str, value: str, before: str) -> None:
    text = f"https://host/x{before}{name}={value}"
    assert redacted(text) != text
    assert secret(text) is not None
    assert secret(redacted(text)) is None


def test_values_of_secret_variables_are_seen_and_short_ones_are_not() -> None:
    assert secret("x correct horse y", {"HF_TOKEN": "correct horse"}) == "the value of HF_TOKEN"
    assert secret("x mps y", {"MY_KEY": "mps"}) is None
    assert secret("x correct horse y", {"EDITOR": "correct horse"}) is None


@pytest.mark.parametrize("query", ["?v=1", "?Expires=1&Signature=ab", "?accessToken=abc", "#x", "%3Fv=1"])
def test_the_address_of_a_raster_in_a_lock_has_no_query_whatever_its_name(query: str) -> None:
    plain = {"assets": {"B02": {"href": "https://host/a.tif"}}, "catalogue": "https://host/stac?v=1"}
    assert leak(plain, addresses=True) is None
    plain["assets"]["B02"]["href"] += query  # type: ignore[index]
    assert "href" in str(leak(plain, addresses=True))
