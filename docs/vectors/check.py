#!/usr/bin/env python3
"""Checks the vectors with an implementation written from docs/protocol.md alone.

Needs Python 3.9 and the package `cryptography` (for signatures). Prints one line for each file; exit status 1 if any
case differs. It is a reference for readers and a check of the chapter, not a server to run.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import pathlib
import re
import sys
import unicodedata
from datetime import datetime

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
except ImportError:
    print("SKIP: the Python package `cryptography` is not installed")
    sys.exit(77)

HERE = pathlib.Path(__file__).parent
ROLES = {"node": "Node", "proxy": "Proxy", "app": "App", "kube": "Kube", "db": "Db",
         "windowsdesktop": "WindowsDesktop", "bot": "Bot"}


class Refused(Exception):
    """A code, and the member of the request where there is one."""

    def __init__(self, code, member=None):
        super().__init__(code)
        self.code, self.member = code, member


class Bad(Exception):
    """Something that is not what it should be; whoever asks says what that means."""


# Notation


def b64u(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64u(text, length=None):
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text, re.ASCII) or len(text) % 4 == 1:
        raise Bad("alphabet")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64u(data) != text or (length is not None and len(data) != length):
        raise Bad("not canonical, or of another length")
    return data


def frame(text):
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


def strict_object(data, required, optional=()):
    def pairs(members):
        if len({name for name, _ in members}) != len(members):
            raise Bad("repeated member")
        return dict(members)

    def constant(name):
        raise Bad(name)

    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Bad(str(error)) from error
    return members(value, required, optional)


def members(value, required, optional=()):
    if not isinstance(value, dict) or not set(required) <= set(value) <= set(required) | set(optional):
        raise Bad("members")
    if any(member is None for member in value.values()):
        raise Bad("null")
    return value


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def need(condition, why="value"):
    if not condition:
        raise Bad(why)


def hkdf(salt, key, info):
    extracted = hmac.new(salt or bytes(32), key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


# Keys


def ssh_string(data):
    return len(data).to_bytes(4, "big") + data


class Key:
    def __init__(self, line):
        need(isinstance(line, str))
        try:
            self.key = serialization.load_ssh_public_key(line.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Bad(str(error)) from error
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            raw = self.key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            self.alg, jwk = "EdDSA", {"crv": "Ed25519", "kty": "OKP", "x": b64u(raw)}
        elif isinstance(self.key, ec.EllipticCurvePublicKey) and self.key.curve.name in ("secp256r1", "secp384r1"):
            self.alg, crv, size = {"secp256r1": ("ES256", "P-256", 32), "secp384r1": ("ES384", "P-384", 48)}[
                self.key.curve.name]
            numbers = self.key.public_numbers()
            jwk = {"crv": crv, "kty": "EC", "x": b64u(numbers.x.to_bytes(size, "big")),
                   "y": b64u(numbers.y.to_bytes(size, "big"))}
        elif isinstance(self.key, rsa.RSAPublicKey) and 2048 <= self.key.key_size <= 8192:
            numbers = self.key.public_numbers()
            number = lambda n: b64u(n.to_bytes((n.bit_length() + 7) // 8, "big"))
            self.alg, jwk = "RS256", {"e": number(numbers.e), "kty": "RSA", "n": number(numbers.n)}
        else:
            raise Bad("kind of key")
        canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()
        self.raw_thumbprint = hashlib.sha256(canonical).digest()
        self.thumbprint = b64u(self.raw_thumbprint)

    def verify(self, signature, message):
        try:
            if self.alg == "EdDSA":
                self.key.verify(signature, message)
            elif self.alg == "RS256":
                self.key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                size, hash_ = (32, hashes.SHA256()) if self.alg == "ES256" else (48, hashes.SHA384())
                need(len(signature) == 2 * size)
                r, s = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
                self.key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hash_))
        except InvalidSignature as error:
            raise Bad("signature") from error


# JWS


def jws_parts(compact, typ):
    parts = compact.split(".")
    need(len(parts) == 3, "parts")
    header = unb64u(parts[0])
    need(header[:1] == b"{", "header")
    header = strict_object(header, ("alg", "kid", "typ"))
    need(all(isinstance(value, str) for value in header.values()), "header")
    need(header["typ"] == typ, "typ")
    return header, parts


def verify_jws(compact, typ, key):
    header, parts = jws_parts(compact, typ)
    need(header["alg"] == key.alg and header["kid"] == key.thumbprint, "alg or kid")
    key.verify(unb64u(parts[2]), f"{parts[0]}.{parts[1]}".encode())
    return unb64u(parts[1])


def open_mac(compact, typ, label, keyring):
    """The payload; or Bad with `unreadable`, `unknown_epoch` or `bad_tag`."""
    try:
        header, parts = jws_parts(compact, typ)
        need(header["alg"] == "HS256", "alg")
        need(re.fullmatch(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)", header["kid"], re.ASCII), "kid")
    except Bad as error:
        raise Bad("unreadable") from error
    master, epoch = (int(number) for number in header["kid"].split("."))
    masters = [unb64u(entry["key"], 32) for entry in keyring["keys"] if entry["id"] == master]
    if not masters or epoch < keyring["retired_below"]:
        raise Bad("unknown_epoch")
    info = label + b"\0" + master.to_bytes(4, "big") + epoch.to_bytes(4, "big")
    tag = hmac.new(hkdf(b"", masters[0], info), f"{parts[0]}.{parts[1]}".encode(), hashlib.sha256).digest()
    try:
        need(hmac.compare_digest(unb64u(parts[2]), tag))
    except Bad as error:
        raise Bad("bad_tag") from error
    return unb64u(parts[1])


# Messages


def transcript(challenge, request):
    return hashlib.sha256(b"boundkey-join v1\0" + frame(challenge) + frame(request)).digest()


def check_challenge(compact, given, now):
    try:
        payload = open_mac(compact, "boundkey-challenge+jwt", b"boundkey challenge v1", given["master_key"])
        claims = strict_object(payload, ("iss", "aud", "iat", "exp", "nonce"), ("position",))
        need(claims["iss"] == claims["aud"] == given["cluster"])
        need(is_int(claims["iat"]) and is_int(claims["exp"]) and 1 <= claims["exp"] - claims["iat"] <= 600)
        unb64u(claims["nonce"], 32)
        if "position" in claims:
            unb64u(claims["position"], 16)
    except Bad as error:
        raise Refused("challenge_invalid") from error
    if now >= claims["exp"]:
        raise Refused("challenge_expired")
    if now + 10 < claims["iat"]:
        raise Refused("challenge_not_yet_valid")
    return claims


def roles_of(value):
    need(isinstance(value, list) and all(isinstance(entry, str) and entry.lower() in ROLES for entry in value))
    return [ROLES[entry.lower()] for entry in value]


def hidden(text):
    """Characters that do not show themselves, or move others: of these general categories, and all blanks but U+0020."""
    return any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs") and c != " " for c in text)


def decode_request(encoded):
    try:
        data = unb64u(encoded)
        request = shape(data)
    except Bad as error:
        try:
            version = json.loads(data).get("version")
            if is_int(version) and version != 1 and 0 <= version < 2**32:
                raise Refused("unsupported_version")
        except (NameError, UnboundLocalError, ValueError, AttributeError, RecursionError):
            pass
        raise Refused("malformed_request", "request") from error
    bounds(request)
    return request


def shape(data):
    request = strict_object(
        data, ("version", "token", "roles", "attempt", "bound_key", "tls_key"),
        ("new_key", "ssh_key", "names", "ttl_seconds", "join_state", "facts"))
    need(is_int(request["version"]) and request["version"] == 1)
    need(isinstance(request["token"], str))
    need(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", request["token"], re.ASCII))
    request["roles"] = roles_of(request["roles"])
    need(len(set(request["roles"])) == len(request["roles"]) <= 8)
    request["attempt"] = unb64u(request["attempt"], 16)
    for member in ("bound_key", "new_key", "tls_key", "ssh_key"):
        if member in request:
            request[member] = Key(request[member])
    names = members(request.setdefault("names", {}), (), ("dns_names", "ip_addresses", "principals"))
    for member in ("dns_names", "ip_addresses", "principals"):
        names.setdefault(member, [])
        need(isinstance(names[member], list) and all(isinstance(name, str) for name in names[member]))
    for address in names["ip_addresses"]:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise Bad("address") from error
    ttl = request.get("ttl_seconds", 60)
    need(is_int(ttl) and 0 <= ttl < 2**64)
    need(isinstance(request.get("join_state", ""), str))
    facts = members(request.setdefault("facts", {}), (), ("hostname", "os", "arch", "version", "roles"))
    facts["roles"] = roles_of(facts.get("roles", []))
    need(all(isinstance(facts.setdefault(name, ""), str) for name in ("hostname", "os", "arch", "version")))
    return request


def bounds(request):
    def bound(condition, member):
        if not condition:
            raise Refused("malformed_request", member)

    bound(request["roles"], "roles")
    for member in ("new_key", "tls_key", "ssh_key"):
        bound(member not in request or request[member].alg != "RS256", member)
    bound("new_key" not in request or request["new_key"].thumbprint != request["bound_key"].thumbprint, "new_key")
    for member, names in request["names"].items():
        bound(len(names) <= 64, f"names.{member}")
    for member in ("dns_names", "principals"):
        fine = (1 <= len(name.encode()) <= 253 and not hidden(name) for name in request["names"][member])
        bound(all(fine), f"names.{member}")
    total = sum(len(role) for role in request["facts"]["roles"])
    for member in ("hostname", "os", "arch", "version"):
        text = request["facts"][member]
        bound(len(text.encode()) <= 256 and not hidden(text), f"facts.{member}")
        total += len(text.encode())
    bound(total <= 1024, "facts")
    bound(60 <= request.get("ttl_seconds", 60) <= 31622400, "ttl_seconds")
    bound(len(request.get("join_state", "").encode()) <= 8192, "join_state")


def check_proof(compact, key, purpose, claims, digest):
    payload = strict_object(
        verify_jws(compact, "boundkey-join+jwt", key), ("aud", "nonce", "transcript", "purpose"))
    expected = {"aud": claims["aud"], "nonce": claims["nonce"], "transcript": b64u(digest), "purpose": purpose}
    need(payload == expected, "payload")
    return key.thumbprint


def prove(request, proofs, claims, digest):
    keys = [("bound_key", request["bound_key"])]
    if "new_key" in request:
        keys.append(("new_key", request["new_key"]))
    if len(proofs) != len(keys):
        return {}
    try:
        return {purpose: check_proof(proof, key, purpose, claims, digest)
                for proof, (purpose, key) in zip(proofs, keys)}
    except Bad:
        return {}


def state_word(state, given):
    if state is None:
        return "none"
    try:
        need(len(state) <= 8192, "unreadable")
        payload = open_mac(state, "boundkey-state+jwt", b"boundkey join-state v1", given["master_key"])
    except Bad as error:
        return str(error)
    try:
        claims = strict_object(
            payload,
            ("iss", "aud", "sub", "jti", "iat", "ver", "generation", "seq", "recovery_count", "key", "identity",
             "certificates_expire_at", "issued_at", "trail", "shared"), ("key_since", "registration_attempt", "adoption", "passed"))
        numbers = ("iat", "ver", "generation", "seq", "recovery_count", "certificates_expire_at", "issued_at")
        need(all(is_int(claims[number]) for number in numbers) and claims["ver"] == 1)
        if (claims["iss"], claims["aud"]) != (given["cluster"], given["cluster"]):
            return "other_cluster"
        need(1 <= claims["seq"] < 2**53 and 0 <= claims["generation"] < 2**32)
        need(0 <= claims["recovery_count"] < 2**32 and len(claims["trail"]) <= 16)
        unb64u(claims["jti"], 16)
        unb64u(claims["key"], 32)
        if "adoption" in claims:
            adoption = claims["adoption"]
            need(isinstance(adoption, dict) and set(adoption) == {"instance", "seq"})
            need(is_int(adoption["seq"]) and 1 <= adoption["seq"] < 2**53)
        marks = claims["trail"] + claims.get("passed", [])
        need(len(claims.get("passed", [])) <= 16)
        for mark in marks:
            unb64u(mark, 8)
    except Bad:
        return "unreadable"
    return "valid"


def receive(body, given, now):
    if len(body) > 65536:
        raise Refused("body_too_large")
    try:
        message = strict_object(body, ("challenge", "request", "proofs"), ("secret_proof",))
        need(isinstance(message["challenge"], str) and isinstance(message["request"], str))
        need(isinstance(message["proofs"], list) and all(isinstance(proof, str) for proof in message["proofs"]))
        need(len(message["challenge"]) <= 2048 and len(message["proofs"]) <= 2)
        need(isinstance(message.get("secret_proof", ""), str))
    except Bad as error:
        raise Refused("malformed_request") from error
    claims = check_challenge(message["challenge"], given, now)
    digest = transcript(message["challenge"], message["request"])
    request = decode_request(message["request"])
    found = {"transcript": b64u(digest), "join_state": state_word(request.get("join_state"), given)}
    if "secret_proof" in message:
        try:
            presented = unb64u(message["secret_proof"], 32)
        except Bad as error:
            raise Refused("malformed_request") from error
        right = hmac.new(unb64u(given["secret_proof_key"]), digest, hashlib.sha256).digest()
        found["secret_proof"] = "right" if hmac.compare_digest(presented, right) else "wrong"
    found["proven"] = prove(request, message["proofs"], claims, digest)
    if "position" in claims:
        found["position"] = claims["position"]
    return found


# Files


def check_messages(case, given):
    body = case["body"].encode()
    body = body.ljust(case.get("pad_with_spaces_to", 0))
    now = datetime.fromisoformat(case["now"].replace("Z", "+00:00")).timestamp()
    try:
        return receive(body, given, now)
    except Refused as refused:
        return {"code": refused.code, "status": 413 if refused.code == "body_too_large" else 400}


def check_request(case, _given):
    if "json" in case:
        assert b64u(case["json"].encode()) == case["request"], case["name"]
    try:
        decode_request(case["request"])
        return {"accepted": True}
    except Refused as refused:
        found = {"code": refused.code}
        return found if refused.member is None else {**found, "member": refused.member}


def check_secret(case, _given):
    secret = case["secret"].encode()
    salt = case["cluster"].encode() + b"\0" + case["token"].encode()
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", case["secret"], re.ASCII):
        secret = hashlib.pbkdf2_hmac("sha256", secret, salt, 600000, 32)
    key = hkdf(salt, secret, b"boundkey secret v1")
    digest = transcript(case["challenge"], case["request"])
    proof = hmac.new(key, digest, hashlib.sha256).digest()
    return {"proof_key": b64u(key), "transcript": b64u(digest), "secret_proof": b64u(proof)}


def check_state(case, given):
    return state_word(case["join_state"], given)


def check_ids(case, _given):
    uid, generation = bytes.fromhex(case["uid"]), case["generation"].to_bytes(4, "big")
    previous = unb64u(case["previous"], 16) if "previous" in case else bytes(16)
    short = lambda *parts: hashlib.sha256(b"".join(parts)).digest()[:16]
    position = lambda sequence, state: b64u(
        short(b"boundkey position v1", uid, generation, sequence.to_bytes(8, "big"), state))
    state = short(b"boundkey state id v1", uid, generation, previous, unb64u(case["attempt"], 16))
    return {"state_id": b64u(state), "position_before": position(case["sequence"], previous),
            "position_after": position(case["sequence"] + 1, state)}


def check_bundle(case, _given):
    if not case["bundle"]:
        return "unsigned"
    if len(case["bundle"]) > 8:
        return "too_large"
    for compact in case["bundle"]:
        for trusted in case["trusted"]:
            try:
                payload = verify_jws(compact, "boundkey-ca-bundle+jwt", Key(trusted))
            except Bad:
                continue
            return bundle_word(payload)
    return "untrusted"


def bundle_word(payload):
    lists = ("tls", "host", "bot", "ssh_host", "ssh_user")
    try:
        bundle = strict_object(payload, ("cluster", "version") + lists, ("note",))
        for key in bundle["ssh_host"] + bundle["ssh_user"]:
            Key(key)
    except Bad:
        return "not_a_bundle"
    try:
        need(1 <= len(bundle["cluster"].encode()) <= 253)
        need(bundle["tls"] and all(len(bundle[name]) <= 8 for name in lists))
        for text in bundle["tls"] + bundle["host"] + bundle["bot"]:
            need(base64.b64decode(text, validate=True))
    except (Bad, ValueError):
        return "content"
    return "accepted"


def check_answer(case, _given):
    """Result digests only: what makes an answer well-formed is in the chapter's tables."""
    if case["expect"].get("answer") != "admitted":
        return case["expect"]
    result = json.loads(case["body"])
    return {"answer": "admitted", "result_digest": b64u(result_digest(result))}


# Results


def check_result(case, given):
    """The checks of the chapter "Result", in its order; the word of the first that fails."""
    result, asked = json.loads(case["body"]), given["request"]
    if result["attempt"] != asked["attempt"]:
        return "other_attempt"
    if result["bound_key"] not in (asked["bound_key"], asked["new_key"]):
        return "foreign_key"
    if len(result["join_state"].encode()) > 8192:
        return "join_state"
    payload = bundle_payload(result["ca_bundle"], given["trusted"])
    if payload is None or bundle_word(payload) != "accepted":
        return "bundle"
    bundle = json.loads(payload)
    if bundle["cluster"] != given["cluster"]:
        return "other_cluster"
    if "certificates" not in result:
        return "provisional" if has_receipt(result, bundle) else "receipt"
    return check_certificates(result, asked, bundle)


def bundle_payload(signed, trusted):
    for compact in signed:
        for key in trusted:
            try:
                return verify_jws(compact, "boundkey-ca-bundle+jwt", Key(key))
            except Bad:
                continue
    return None


def result_digest(result):
    key, attempt = Key(result["bound_key"]).raw_thumbprint, unb64u(result["attempt"], 16)
    return hashlib.sha256(b"boundkey result v1\0" + frame(result["join_state"]) + key + attempt).digest()


def has_receipt(result, bundle):
    expected = json.dumps({"cluster": bundle["cluster"], "digest": b64u(result_digest(result))},
                          separators=(",", ":"), ensure_ascii=False).encode()
    for ca in bundle["tls"]:
        blob = ssh_string(b"ssh-ed25519") + ssh_string(Leaf(base64.b64decode(ca)).key)
        try:
            signed = verify_jws(result["receipt"], "boundkey-receipt+jwt",
                                Key("ssh-ed25519 " + base64.b64encode(blob).decode()))
        except (Bad, KeyError):
            continue
        if signed == expected:
            return True
    return False


def check_certificates(result, asked, bundle):
    (kind, identity), = result["identity"].items()
    x509_cas, ssh_cas, path = {
        "host": (bundle["host"], bundle["ssh_host"], "host/"),
        "bot_instance": (bundle["bot"], bundle["ssh_user"], "bot/[^/]+/"),
    }[kind]
    now = datetime.fromisoformat(result["server_time"].replace("Z", "+00:00")).timestamp()
    try:
        chain = [Leaf(base64.b64decode(text, validate=True)) for text in result["certificates"]["x509_chain"]]
        need(chain, "empty")
        leaf = chain[0]
        need(any(leaf.issued_by(Leaf(base64.b64decode(ca))) for ca in x509_cas), "no CA of the bundle")
        need(leaf.start <= now <= leaf.end, "dates")
        need(CLIENT_AUTH in leaf.extensions.get(EXTENDED_KEY_USAGE, b""), "usage")
    except (Bad, ValueError, IndexError):
        return "chain"
    if ssh_string(b"ssh-ed25519") + ssh_string(leaf.key) != base64.b64decode(asked["tls_key"].split(" ")[1]):
        return "other_key"
    if leaf.extensions.get(RESULT_DIGEST) != b"\x04\x20" + result_digest(result):
        return "digest"
    names = der_list(der_list(leaf.extensions[SUBJECT_ALT_NAME])[0][1])
    uris = [content.decode() for tag, content, _ in names if tag == 0x86]
    expected = f"spiffe://{re.escape(bundle['cluster'])}/{path}{re.escape(identity)}"
    if len(uris) != 1 or not re.fullmatch(expected, uris[0]):
        return "other_identity"
    if "ssh" in result["certificates"]:
        return ssh_word(result["certificates"]["ssh"], asked["ssh_key"], ssh_cas, 2 if kind == "host" else 1)
    if "ssh_key" in asked:
        return "ssh"
    return "accepted"


# (The package does not read object identifiers with numbers as large as ours.)
EXTENDED_KEY_USAGE, SUBJECT_ALT_NAME = bytes.fromhex("551d25"), bytes.fromhex("551d11")
CLIENT_AUTH = bytes.fromhex("06082b06010505070302")
RESULT_DIGEST = bytes.fromhex("69e3f1d5c9fca4858f1801")


def der_list(data):
    """(tag, content, the whole of it) of each value in a row."""
    found = []
    while data:
        need(len(data) >= 2, "DER")
        length, start = data[1], 2
        if length >= 0x80:
            start += length - 0x80
            length = int.from_bytes(data[2:start], "big")
        need(len(data) >= start + length, "DER")
        found.append((data[0], data[start:start + length], data[:start + length]))
        data = data[start + length:]
    return found


class Leaf:
    """As much of an X.509 certificate with an Ed25519 key as the vectors need; a real client has a library."""

    def __init__(self, certificate):
        (_, whole, _), = der_list(certificate)
        (_, tbs, self.signed), _algorithm, (_, signature, _) = der_list(whole)
        self.signature = signature[1:]
        _version, _serial, _algorithm, issuer, dates, subject, key, extensions = der_list(tbs)
        self.issuer, self.subject, self.key = issuer[2], subject[2], key[2][-32:]
        utc = "%y%m%d%H%M%S%z"
        self.start, self.end = (
            datetime.strptime(date.decode().replace("Z", "+0000"), utc).timestamp() for _, date, _ in der_list(dates[1]))
        self.extensions = {}
        for _, extension, _ in der_list(der_list(extensions[1])[0][1]):
            members = der_list(extension)
            self.extensions[members[0][1]] = members[-1][1]

    def issued_by(self, ca):
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(ca.key).verify(self.signature, self.signed)
        except InvalidSignature:
            return False
        return self.issuer == ca.subject


def ssh_word(line, key, cas, kind):
    def take(rest):
        length = int.from_bytes(rest[:4], "big")
        need(len(rest) >= 4 + length)
        return rest[4:4 + length], rest[4 + length:]

    try:
        name, encoded = line.split(" ")[:2]
        need(name == "ssh-ed25519-cert-v01@openssh.com")
        whole = base64.b64decode(encoded, validate=True)
        inner, rest = take(whole)
        need(inner == name.encode())
        _nonce, rest = take(rest)
        raw, rest = take(rest)
        found, rest = int.from_bytes(rest[8:12], "big"), rest[12:]
        _key_id, rest = take(rest)
        principals, rest = take(rest)
        rest = rest[16:]
        for _ in range(3):
            _options, rest = take(rest)
        ca, rest = take(rest)
        signature, end = take(rest)
        need(not end)
    except (Bad, ValueError):
        return "ssh"
    if ssh_string(b"ssh-ed25519") + ssh_string(raw) != base64.b64decode(key.split(" ")[1]):
        return "other_key"
    try:
        need(found == kind and principals)
        signer = next((line for line in cas if base64.b64decode(line.split(" ")[1]) == ca), None)
        need(signer is not None, "CA")
        algorithm, signature = take(signature)
        need(algorithm == b"ssh-ed25519")
        Key(signer).verify(take(signature)[0], whole[:len(whole) - len(rest)])
    except Bad:
        return "ssh"
    return "accepted"


# Sequences


def short_hash(*parts):
    return hashlib.sha256(b"".join(parts)).digest()[:16]


class Lineage:
    """As much of a server as the sequences need: one token with an initial key, in mode `standard`, renewals only."""

    def __init__(self, given):
        self.given, self.uid = given, bytes.fromhex(given["token"]["uid"])
        self.key = None
        self.sequence, self.state_id, self.trail, self.locked = 0, bytes(16), [], False
        # Of the last join: attempt, state it came from, certified key, end of its certificates, its join state.
        self.last = None

    def copy(self):
        twin = Lineage(self.given)
        twin.__dict__.update(self.__dict__, trail=list(self.trail))
        return twin

    def position(self):
        number = self.sequence.to_bytes(8, "big")
        return b64u(short_hash(b"boundkey position v1", self.uid, bytes(4), number, self.state_id))

    def answer(self, body, now, expected):
        try:
            found = receive(body, self.given, now)
        except Refused as refused:
            return {"code": refused.code, "status": 400}
        request = decode_request(json.loads(body)["request"])
        initial = Key(self.given["token"]["initial_public_key"]).thumbprint
        if found["proven"] != {"bound_key": self.key or initial}:
            return {"code": "denied", "status": 403}
        state = None
        if found["join_state"] == "valid":
            state = json.loads(open_mac(
                request["join_state"], "boundkey-state+jwt", b"boundkey join-state v1", self.given["master_key"]))
        if self.locked:
            return {"code": "locked", "status": 403}
        self.heal(state)
        presented, certified = state and state["jti"], request["tls_key"].thumbprint
        if self.last and self.last[:2] == (request["attempt"], presented):
            fits = self.last[2] == certified and now < self.last[3]
            return {"status": "admitted", "kind": "retried", "certificates": fits, "join_state": self.last[4]}
        if self.key is None:
            return self.admit("registered", request, presented, certified, now, expected)
        if state and (state["seq"], unb64u(state["jti"])) == (self.sequence, self.state_id):
            return self.admit("renewed", request, presented, certified, now, expected)
        if found.get("position") != self.position():
            return {"status": "confirm", "position": self.position()}
        self.locked = True
        return {"code": "clone_detected", "status": 403}

    def heal(self, state):
        """A state ahead whose trail has our last id: the server was restored from an older backup."""
        if state and state["seq"] > self.sequence:
            back = state["seq"] - self.sequence
            if self.sequence == 0 or state["trail"][-1 - back] == b64u(self.state_id[:8]):
                self.sequence, self.state_id, self.trail = state["seq"], unb64u(state["jti"]), state["trail"]

    def admit(self, kind, request, presented, certified, now, expected):
        previous = self.state_id
        self.key = request["bound_key"].thumbprint
        self.sequence += 1
        self.state_id = short_hash(b"boundkey state id v1", self.uid, bytes(4), previous, request["attempt"])
        self.trail = (self.trail + [b64u(self.state_id[:8])])[-16:]
        state = expected.get("join_state")
        ends = int(now) + self.given["certificate_lifetime_seconds"]
        self.last = (request["attempt"], presented, certified, ends, state)
        found = {"status": "admitted", "kind": kind, "certificates": True}
        try:
            need(state_word(state, self.given) == "valid")
            claims = json.loads(open_mac(
                state, "boundkey-state+jwt", b"boundkey join-state v1", self.given["master_key"]))
            mine = {"sub": self.given["token"]["uid"], "jti": b64u(self.state_id), "seq": self.sequence,
                    "generation": 0, "recovery_count": 1, "key": self.key, "trail": self.trail, "shared": False,
                    "iat": int(now), "issued_at": int(now) * 1000000, "certificates_expire_at": ends * 1000000}
            need({name: claims[name] for name in mine} == mine)
        except Bad:
            return found
        return {**found, "join_state": state}


def check_sequence(case, given):
    past, found = [Lineage(given)], []
    for message, expected in zip(case["messages"], case["expect"]):
        server = past[message.get("restored_to_after_message", -1)].copy()
        now = datetime.fromisoformat(message["now"].replace("Z", "+00:00")).timestamp()
        found.append(server.answer(message["body"].encode(), now, expected))
        past.append(server)
    return found


FILES = {
    "answers.json": check_answer,
    "bundles.json": check_bundle,
    "completes.json": check_messages,
    "ids.json": check_ids,
    "proofs.json": check_messages,
    "requests.json": check_request,
    "results.json": check_result,
    "secrets.json": check_secret,
    "sequences.json": check_sequence,
    "states.json": check_state,
}


def main():
    failed = 0
    for name, check in FILES.items():
        file = json.loads((HERE / name).read_text(encoding="utf-8"))
        wrong = 0
        for case in file["cases"]:
            found = check(case, file["given"])
            if found != case["expect"]:
                wrong += 1
                print(f"{name}: {case['name']}: found {found}, expected {case['expect']}")
        print(f"{name}: {len(file['cases'])} cases, {wrong} differ")
        failed += wrong
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
