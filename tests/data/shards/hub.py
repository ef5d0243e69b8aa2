"""A small copy of the Hugging Face Hub: datasets that can be read, listed and committed to, with a token."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

API = r"/api/datasets/(?P<repo>[^/]+/[^/]+)"
SMALL = 1000
"""Files with fewer bytes are kept in git, larger ones in LFS."""


class Hub(ThreadingHTTPServer):
    """Serves datasets.

    Attributes:
        files: content by (repository, path).
        objects: content of LFS by SHA-256.
        token: what each request must carry; None: nothing.
        asked: (method, path, authorization) of every request.
    """

    def __init__(self, *repositories, token=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.token = repositories, token
        self.files, self.objects, self.asked = {}, {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def entries(self, repo, folder=""):
        """What is directly in a folder, as the Hub lists it."""
        found = {}
        prefix = f"{folder}/" if folder else ""
        for (of, path), data in self.files.items():
            if of == repo and path.startswith(prefix):
                name, _, below = path.removeprefix(prefix).partition("/")
                found[prefix + name] = (
                    {"type": "directory", "path": prefix + name, "oid": "0" * 40}
                    if below
                    else self.entry(path, data)
                )
        return list(found.values())

    def entry(self, path, data):
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        lfs = {"lfs": large} if len(data) >= SMALL else {}
        return {"type": "file", "path": path, "size": len(data), "oid": git, **lfs}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, path, self.headers.get("Authorization")))
        token = self.server.token
        # Addresses of uploads carry their own permission.
        if (
            token
            and not path.startswith("/lfs/")
            and self.headers.get("Authorization") != f"Bearer {token}"
        ):
            return self._say(401, {"error": "no token"})
        for method, pattern, function in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == self.command:
                if found.groupdict().get("repo", "") not in ("", *self.server.repositories):
                    return self._say(
                        404, {"error": "no repository"}, {"X-Error-Code": "RepoNotFound"}
                    )
                return function(self, body, **found.groupdict())
        return self._say(404, {"error": f"no {self.command} {path}"})

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def do_PUT(self):
        self._answer()

    def _say(self, status, content, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _about(self, _, repo):
        self._say(200, {"id": repo, "sha": "0" * 40, "private": bool(self.server.token)})

    def _tree(self, _, repo, folder):
        found = self.server.entries(repo, (folder or "").strip("/"))
        if not found and folder:
            return self._say(404, {"error": "no entry"}, {"X-Error-Code": "EntryNotFound"})
        return self._say(200, found)

    def _paths(self, body, repo):
        asked = json.loads(body)["paths"]
        found = [
            self.server.entry(path, self.server.files[repo, path])
            for path in asked
            if (repo, path) in self.server.files
        ]
        folders = [
            {"type": "directory", "path": path, "oid": "0" * 40}
            for path in asked
            if any(of == repo and name.startswith(f"{path}/") for of, name in self.server.files)
        ]
        self._say(200, found + folders)

    def _preupload(self, body, repo):
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["size"] >= SMALL else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(body)["files"]
        ]
        self._say(200, {"files": files})

    def _batch(self, body, repo):
        found = []
        for one in json.loads(body)["objects"]:
            new = one["oid"] not in self.server.objects
            actions = {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}
            found.append({**one, **({"actions": actions} if new else {})})
        self._say(200, {"transfer": "basic", "objects": found})

    def _object(self, body, oid):
        if hashlib.sha256(body).hexdigest() != oid:
            return self._say(422, {"error": "another checksum"})
        self.server.objects[oid] = body
        return self._say(200, {})

    def _commit(self, body, repo):
        for line in body.splitlines():
            one = json.loads(line)
            if one["key"] == "file":
                data = base64.b64decode(one["value"]["content"])
                self.server.files[repo, one["value"]["path"]] = data
            elif one["key"] == "lfsFile":
                data = self.server.objects[one["value"]["oid"]]
                self.server.files[repo, one["value"]["path"]] = data
        said = {"commitUrl": f"{self.server.url}/{repo}", "commitOid": "0" * 40}
        self._say(200, {**said, "success": True, "hookOutput": ""})

    def _file(self, _, repo, path):
        data = self.server.files.get((repo, path))
        if data is None:
            return self._say(404, {"error": "no entry"}, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        if self.headers.get("If-None-Match") == headers["ETag"]:
            return self._say(304, b"", headers)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not span:
            return self._say(200, data, headers)
        first, last = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self._say(206, data[first : last + 1], headers)

    def log_message(self, *_):
        """Silence."""


ROUTES = [
    ("GET", rf"{API}(?:/revision/main)?", Handler._about),
    ("GET", rf"{API}/tree/main(?P<folder>/.*)?", Handler._tree),
    ("POST", rf"{API}/paths-info/main", Handler._paths),
    ("POST", rf"{API}/preupload/main", Handler._preupload),
    ("POST", rf"{API}/commit/main", Handler._commit),
    ("POST", r"/datasets/(?P<repo>.+)\.git/info/lfs/objects/batch", Handler._batch),
    ("PUT", r"/lfs/(?P<oid>\w+)", Handler._object),
    ("GET", r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/main/(?P<path>.+)", Handler._file),
]
