#!/usr/bin/env python3
"""Writes the seed corpus: one file per message kind. The first byte is the context (see context.rs)."""
import pathlib

MARKER = b"\xff" * 16
FOUR_OCTET, EXTERNAL, ADD_PATH = 1, 2, 4


def message(kind, body=b""):
    return MARKER + (19 + len(body)).to_bytes(2, "big") + bytes([kind]) + body


def update(attributes, nlri=b"", withdrawn=b""):
    length = lambda part: len(part).to_bytes(2, "big")
    return message(2, length(withdrawn) + withdrawn + length(attributes) + attributes + nlri)


MANDATORY = bytes.fromhex("400101 00 400206 0201 0000fde9 400304 0a000001")
MANY = bytes.fromhex(
    "800404 00000005 400504 00000064 400600 c00708 00011170 0a090909 c00808 0001000100020001 800904 0a000007"
    "800a08 0a0000090a000008 c01008 0002000100000003 c0200c 000000010000000200000003 c06302 0708"
)
MP = bytes.fromhex(
    "800e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001 800f0a 0002 01 30 20010db80002"
)
TWO_OCTET = bytes.fromhex(
    "400101 00 400206 0202 0064 5ba0 400304 0a000001 c00706 5ba0 0a000001 c01106 0201 00011170 c01208 00011170 0a000002"
)
OPEN = bytes.fromhex("04fc0000f0ac1200032902270104000100010200400600780001010041040000fc004504000101034600470700010100000e10")

SEEDS = {
    "open": (0, message(1, OPEN)),
    "update-ipv4": (FOUR_OCTET, update(MANDATORY + MANY, bytes.fromhex("180a01021a0af44940"))),
    "update-add-path": (FOUR_OCTET | ADD_PATH, update(MANDATORY, bytes.fromhex("00000002200af44941"))),
    "update-ipv6": (FOUR_OCTET | EXTERNAL, update(MP + MANDATORY)),
    "update-two-octet": (0, update(TWO_OCTET, bytes.fromhex("180a0102"), bytes.fromhex("180a0103"))),
    "others": (0, message(4) + message(5, bytes([0, 1, 0, 1])) + update(b"") + message(3, bytes([6, 2]))),
}

for target, prefix in [("wire_decode", b"\x7f"), ("wire_round_trip", b"")]:
    folder = pathlib.Path(__file__).parent / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, (flags, stream) in SEEDS.items():
        (folder / f"{name}.bin").write_bytes(bytes([flags]) + prefix + stream)

# Steps of session_stream.rs: accept, connected, open, keepalive, update, refresh, close, pass, order, kernel, stuck.
ACCEPT_EXTERNAL, CONNECTED = bytes([0, 1]), bytes([1, 1])
UP = bytes([6, 0, 3, 7, 0])
UPDATE, WITHDRAW = bytes([8, 0, 0, 5, 4, 2]), bytes([8, 0, 1, 2, 4, 2])
SCRIPTS = {
    "dialled": CONNECTED + UP + UPDATE + WITHDRAW + bytes([10, 0, 0, 11, 0, 0]),
    "accepted": ACCEPT_EXTERNAL + bytes([6, 1, 2, 7, 1, 8, 1, 2, 9, 8, 4, 12, 10, 2]),
    "collision": CONNECTED + bytes([0, 0, 6, 0, 3, 6, 1, 3, 7, 0, 7, 1]),
    "deaf": CONNECTED + UP + bytes([15, 0, 10, 0, 0, 10, 0, 0, 15, 0]),
    "orders": CONNECTED + UP + UPDATE + bytes([13, 0, 13, 1, 13, 2, 14, 0, 14, 2, 12, 200, 1]),
}
folder = pathlib.Path(__file__).parent / "corpus" / "session_stream"
folder.mkdir(parents=True, exist_ok=True)
for name, script in SCRIPTS.items():
    (folder / f"{name}.bin").write_bytes(script)
