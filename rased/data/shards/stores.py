"""Write files to an address: over S3 in parts that survive an interruption, elsewhere as wholes; compare checksums."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rased.data.shards.address import Address, RefusedError, RemoteError, file_system
from rased.data.shards.transfer import lasting, reason_of, transfer
from rased.disk import sha256
from rased.errors import RasedError

PART = 16 << 20
"""Bytes of a part; S3 allows 5 MB and more."""
_MOST_PARTS = 10_000
_WRITABLE = "s3://, gs://, hf://datasets/ or another protocol of fsspec that writes"


class Store:
    """A folder at an address, for writing files as wholes.

    A file appears when it is complete, except on file systems that show unfinished files.
    """

    def __init__(self, place: Address) -> None:
        """Connect to an address.

        Raises:
            RemoteError: it can only be read, or needs a missing package.
        """
        self.place = place
        if place.scheme in ("http", "https"):
            raise RemoteError(f"'{place}' can only be read: push to {_WRITABLE}.")
        system, path = file_system(place)
        self.system: Any = system
        self.path = str(path).rstrip("/")

    def names(self) -> set[str]:
        """Return the names of the files in the folder.

        Raises:
            RemoteError: it cannot be listed.
        """
        with _explained(self.place, "listed"):
            try:
                self.system.invalidate_cache()
                found = self.system.ls(self.path, detail=True)
            except FileNotFoundError:
                return set()
            return {str(one["name"]).rpartition("/")[2] for one in found if one["type"] == "file"}

    def holds(self, file: Path, name: str) -> bool:
        """Return whether a file of this name is there with the size and the checksum of a local one.

        Raises:
            RemoteError: it cannot be asked for.
        """
        with _explained(self.place / name, "read"):
            try:
                return self._equal(file, name)
            except FileNotFoundError:
                return False

    def send(self, file: Path, name: str) -> None:
        """Upload a file.

        Raises:
            RemoteError: the upload broke off; what arrived is used again by the next one.
        """
        with _explained(self.place / name, "written"):
            self._send(file, name)

    def _equal(self, file: Path, name: str) -> bool:
        self.system.invalidate_cache()
        info = self.system.info(f"{self.path}/{name}")
        if info["size"] != file.stat().st_size:
            return False
        # The checksums that Google and the Hugging Face Hub compute themselves; without one, the file is read back.
        if info.get("md5Hash"):
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "md5").digest()
            return bool(info["md5Hash"] == base64.b64encode(digest).decode())
        stored = getattr(info.get("lfs"), "sha256", None) or self._read_back(name)
        return bool(stored == sha256(file))

    def _read_back(self, name: str) -> str:
        digest = hashlib.sha256()
        for _, _, piece in transfer(self.place / name, 0, None):
            digest.update(piece)
        return digest.hexdigest()

    def _send(self, file: Path, name: str) -> None:
        self.system.makedirs(self.path, exist_ok=True)
        self.system.put_file(str(file), f"{self.path}/{name}")


class _Part(NamedTuple):
    """Checksums of a part."""

    md5: bytes
    sha256: bytes


class _S3Store(Store):
    """Uploads in parts, each with its SHA-256, which the server compares; parts that are there are not sent again."""

    def _call(self, method: str, name: str, **settings: Any) -> Any:
        bucket, _, key = f"{self.path}/{name}".partition("/")
        return self.system.call_s3(method, Bucket=bucket, Key=key, **settings)

    def _equal(self, file: Path, name: str) -> bool:
        found = self._call("head_object", name, ChecksumMode="ENABLED")
        if found["ContentLength"] != file.stat().st_size:
            return False
        parts = [_sums(data) for data in _pieces(file)]
        checksum = found.get("ChecksumSHA256")
        if checksum:
            # Of the checksums of the parts, followed by "-" and the number of parts.
            whole = hashlib.sha256(b"".join(part.sha256 for part in parts)).digest()
            return bool(checksum.partition("-")[0] == _text(whole))
        # Servers that know no SHA-256 have this tag instead.
        whole = hashlib.md5(b"".join(part.md5 for part in parts)).digest()
        return bool(found["ETag"].strip('"') == f"{whole.hex()}-{len(parts)}")

    def _send(self, file: Path, name: str) -> None:
        upload = self._begun(name)
        if upload is None:
            settings = {"ChecksumAlgorithm": "SHA256"}
            upload = self._call("create_multipart_upload", name, **settings)["UploadId"]
        there, parts = self._parts(name, upload), []
        for number, data in enumerate(_pieces(file), 1):
            sums = _sums(data)
            tag = there.get(number)
            if tag != sums.md5.hex():
                tag = self._send_part(name, upload, number, data, sums)
            checksum = _text(sums.sha256)
            parts.append({"PartNumber": number, "ETag": f'"{tag}"', "ChecksumSHA256": checksum})
        self._call(
            "complete_multipart_upload", name, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def _begun(self, name: str) -> str | None:
        """Return the last upload of a file that was begun and not completed."""
        bucket, _, key = f"{self.path}/{name}".partition("/")
        found = self.system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
        uploads = [
            upload
            for upload in found.get("Uploads", ())
            if upload["Key"] == key and upload.get("ChecksumAlgorithm") in (None, "SHA256")
        ]
        return max(uploads, key=lambda one: one["Initiated"])["UploadId"] if uploads else None

    def _parts(self, name: str, upload: str) -> dict[int, str]:
        """Return the tags of the parts that are there by their numbers."""
        parts: dict[int, str] = {}
        more, marker = True, 0
        while more:
            found = self._call("list_parts", name, UploadId=upload, PartNumberMarker=marker)
            parts |= {
                part["PartNumber"]: part["ETag"].strip('"') for part in found.get("Parts", ())
            }
            more, marker = found.get("IsTruncated", False), found.get("NextPartNumberMarker", 0)
        return parts

    def _send_part(self, name: str, upload: str, number: int, data: bytes, sums: _Part) -> str:
        sent = self._call(
            "upload_part",
            name,
            UploadId=upload,
            PartNumber=number,
            Body=data,
            ContentMD5=_text(sums.md5),
            ChecksumSHA256=_text(sums.sha256),
        )
        tag: str = sent["ETag"].strip('"')
        # With keys of its own, a server encrypts before it computes the tag.
        encrypted = "kms" in sent.get("ServerSideEncryption", "") or "SSECustomerAlgorithm" in sent
        if tag != sums.md5.hex() and not encrypted:
            raise RemoteError(
                f"Part {number} of '{self.place / name}' arrived with another checksum: run the command again."
            )
        return tag


def store(place: Address) -> Store:
    """Return the store at an address.

    Raises:
        RemoteError: it can only be read, or needs a missing package.
    """
    return (_S3Store if place.scheme in ("s3", "s3a") else Store)(place)


def _pieces(file: Path) -> Iterator[bytes]:
    """Yield the parts of a file: at least one, at most as many as S3 allows, the same for each upload."""
    size = max(PART, -(-file.stat().st_size // _MOST_PARTS))
    with file.open("rb") as stream:
        yield stream.read(size)
        while data := stream.read(size):
            yield data


def _sums(data: bytes) -> _Part:
    return _Part(hashlib.md5(data).digest(), hashlib.sha256(data).digest())


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@contextmanager
def _explained(place: Address, done: str) -> Iterator[None]:
    """Convert the errors of a file system to one sentence."""
    try:
        yield
    except RasedError:
        raise
    except Exception as error:  # each file system of fsspec has its own exceptions
        said = f"'{place}' cannot be {done} ({reason_of(error)})"
        if lasting(error):
            raise RefusedError(f"{said}: check the address and the credentials.") from error
        raise RemoteError(
            f"{said}: check the connection, and run the same command again; it continues where it stopped."
        ) from error
