"""Small pictures that take a decoder long or much."""

import struct
import zlib

LONGEST_RUN = 32767  # blocks that one code of a progressive JPEG can leave out


def progressive_jpeg(side: int, scans: int) -> bytes:
    """A flat grey JPEG whose every scan passes over the whole picture and says nothing; some 60 bytes a scan."""

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    blocks = ((side + 7) // 8) ** 2
    head = b"\xff\xd8" + segment(0xDB, bytes([0] + [16] * 64))
    head += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    head += segment(0xC4, bytes([0x00, 1] + [0] * 15 + [0])) + segment(0xC4, bytes([0x10, 1] + [0] * 15 + [0xE0]))
    head += segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0x00])) + bytes((blocks + 7) // 8)
    bits, left = "", blocks
    while left > 0:
        run = max(min(left, LONGEST_RUN), 1 << 14)
        bits += "0" + format(run - (1 << 14), "014b")
        left -= run
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return head + (segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0x00])) + data) * scans + b"\xff\xd9"


def flat_png(side: int) -> bytes:
    """A black PNG, 1 bit a pixel: 4 KB for 36 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes(1 + (side + 7) // 8) * side, 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
