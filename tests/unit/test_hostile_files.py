"""Damaged and hostile files: each ends in a graph or a dataset that is right, or in one line of error; nothing else.

All are read in processes of their own, which have 1 GiB of memory and no patience (hostile_reader.py).
"""

import functools
import io
import json
import pickle
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import FormatError
from talon_lib.formats import hdf5, t1c
from talon_lib.ir.node import fields_of

READER = Path(__file__).with_name("hostile_reader.py")
TREES = {".nir": "node", ".t1c": "graph"}

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="the memory limit is Linux's")


def outcomes(paths):
    """(outcome, message) of every file. A process that dies is said to have died at its file; the next goes on."""
    found = []
    while len(found) < len(paths):
        rest = paths[len(found) :]
        done = subprocess.run(
            [sys.executable, READER], input="".join(f"{path}\n" for path in rest), capture_output=True, text=True
        )
        found += [tuple(json.loads(line)) for line in done.stdout.splitlines()]
        if len(found) < len(paths):
            found.append((f"died with {done.returncode}", done.stderr[-300:]))
    return found


def small_graph():
    rng = np.random.default_rng(4)
    nodes = {
        "x": ir.Input((2, 5, 5)),
        "conv": ir.Conv2d(rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3), stride=2),
        "lif": ir.LIF(np.full(3, 2.0), np.full(3, 2.0), np.zeros(3), np.ones(3)),
        "flat": ir.Flatten(),
        "fc": ir.Affine(rng.normal(size=(4, 12)), rng.normal(size=4)),
        "if": ir.IF(np.ones(4)),
        "y": ir.Output((4,)),
    }
    return ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)), {"made_by": "a test"})


@functools.cache
def sound(suffix):
    """The bytes of a small file that is right."""
    if suffix == ".npz":
        buffer = io.BytesIO()
        rng = np.random.default_rng(5)
        np.savez(
            buffer, x_test=rng.normal(size=(6, 4)).astype(np.float32), y_test=np.arange(6), x_train=np.ones((2, 4))
        )
        return buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"sound{suffix}")
        ir.write(path, small_graph())
        return path.read_bytes()


@functools.cache
def of_newer_hdf5(suffix):
    """The bytes of the same file in the newest of HDF5's layouts, all chunks packed and open to grow."""
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder, "old"), Path(folder, "new")
        old.write_bytes(sound(suffix))
        with h5py.File(old) as source, h5py.File(new, "w", libver="latest", track_order=True) as target:

            def copy(name, item):
                if isinstance(item, h5py.Group):
                    target.require_group(name)
                elif item.shape and item.dtype != object:
                    packed = {"compression": "gzip", "shuffle": True, "maxshape": (None,) * item.ndim}
                    target.create_dataset(name, data=item[()], **packed)
                else:
                    target.create_dataset(name, data=item[()], dtype=item.dtype)

            source.visititems(copy)
        return new.read_bytes()


# --- random damage ---


def mutated(data, seed):
    """``data`` with random damage: flipped bits, other bytes, runs of 0 or 255, bytes gone or come, blocks swapped."""
    rng = np.random.default_rng(seed)
    found = bytearray(data)
    used = np.flatnonzero(np.frombuffer(data, np.uint8))  # what is not 0 has a meaning more often
    at, other = (int(rng.choice(used)) for _ in range(2))
    kind = seed % 6
    if kind == 0:
        found[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        for place in rng.choice(used, int(rng.integers(2, 40))):
            found[place] = int(rng.integers(256))
    elif kind == 2:
        found[at : at + 8] = rng.choice([b"\xff" * 8, bytes(8), struct.pack("<Q", 10**12), struct.pack("<q", -1)])
    elif kind == 3:
        del found[at : at + int(rng.integers(1, 64))]
    elif kind == 4:
        found[at:at] = rng.bytes(int(rng.integers(1, 64)))
    else:
        found[at : at + 32], found[other : other + 32] = found[other : other + 32], found[at : at + 32]
    return bytes(found)


@pytest.mark.parametrize(
    ("suffix", "make"),
    [(".nir", sound), (".t1c", sound), (".npz", sound), (".nir", of_newer_hdf5), (".t1c", of_newer_hdf5)],
)
def test_random_damage_ends_in_a_right_graph_or_in_one_line(suffix, make, tmp_path):
    data, paths = make(suffix), []
    for seed in range(180):
        paths.append(tmp_path / f"{seed}{suffix}")
        paths[-1].write_bytes(mutated(data, seed))
    found = outcomes(paths)
    bad = [
        (path.name, *result) for path, result in zip(paths, found, strict=True) if result[0] not in ("read", "refused")
    ]
    assert not bad
    refused = sum(outcome == "refused" for outcome, _ in found)
    assert 45 <= refused < 180, "the damage is neither harmless nor always seen at once"


@pytest.mark.parametrize("suffix", [".nir", ".t1c", ".npz"])
def test_every_cut_is_refused(suffix, tmp_path):
    data, paths = sound(suffix), []
    for length in [0, 1, 7, 8, 9, 95, 96, *np.linspace(100, len(data) - 1, 25).astype(int).tolist()]:
        paths.append(tmp_path / f"{length}{suffix}")
        paths[-1].write_bytes(data[:length])
    assert [outcome for outcome, _ in outcomes(paths)] == ["refused"] * len(paths)


@pytest.mark.parametrize("suffix", [".nir", ".t1c", ".npz"])
def test_random_bytes_are_refused(suffix, tmp_path):
    rng, paths = np.random.default_rng(7), []
    for index, start in enumerate(
        [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x93NUMPY\x01\x00", sound(suffix)[:512]]
    ):
        paths.append(tmp_path / f"{index}{suffix}")
        paths[-1].write_bytes(start + rng.bytes(5000))
    assert [outcome for outcome, _ in outcomes(paths)] == ["refused"] * len(paths)


# --- hostile HDF5: what is done to a sound file, and what is said of it ---


def put(place, **how):
    """Replace a dataset."""

    def change(root):
        del root[place]
        root.create_dataset(place, **how)

    return change


def big_chunk_claim(root):
    del root["nodes/fc/weight"]
    space = h5py.h5s.create_simple((4, 12), (10**6, 10**6))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((2**15, 2**14))
    h5py.h5d.create(root["nodes/fc"].id, b"weight", h5py.h5t.IEEE_F32LE, space, plist)


def gzip_bomb(root):
    """A chunk that claims 192 bytes and unpacks to 1.5 GiB."""
    del root["nodes/fc/weight"]
    data = root.create_dataset("nodes/fc/weight", (4, 12), "<f4", chunks=(4, 12), compression="gzip")
    packer = zlib.compressobj()
    first, again = (packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    data.id.write_direct_chunk((0, 0), first + 95 * again)


def not_gzip(root):
    del root["nodes/fc/weight"]
    data = root.create_dataset("nodes/fc/weight", (4, 12), "<f4", chunks=(4, 12), compression="gzip")
    data.id.write_direct_chunk((0, 0), b"nothing that was ever packed")


def unknown_filter(root):
    """A filter for which HDF5 would look for a plug-in and load it."""
    del root["nodes/fc/weight"]
    space, plist = h5py.h5s.create_simple((4, 12)), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4, 12))
    plist.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL, (3,))
    made = h5py.h5d.create(root["nodes/fc"].id, b"weight", h5py.h5t.IEEE_F32LE, space, plist)
    made.write_direct_chunk((0, 0), bytes(192))


def virtual(root):
    del root["nodes/fc/weight"]
    layout = h5py.VirtualLayout((4, 12), "f4")
    layout[...] = h5py.VirtualSource("/etc/hostname", "weight", (4, 12))
    root.create_virtual_dataset("nodes/fc/weight", layout)


def reference(root):
    del root["nodes/fc/weight"]
    root.create_dataset("nodes/fc/weight", data=np.array([root.ref], object), dtype=h5py.ref_dtype)


def external_link(root):
    del root["nodes/fc"]
    root["nodes/fc"] = h5py.ExternalLink("/etc/hostname", "/")


def soft_link(root):
    root.move("nodes/fc/weight", "elsewhere")
    root["nodes/fc/weight"] = h5py.SoftLink(f"{root.name}/elsewhere")


def hard_link(root):
    root["nodes/fc/again"] = root["nodes"]


def deep(root):
    for _ in range(100):
        root = root.create_group("deep")


def many(root):
    more = root.create_group("many")
    for index in range(hdf5.MAX_NAMES):
        more[str(index)] = h5py.SoftLink("/")


def huge_text(root):
    del root["nodes/fc/type"]
    root.create_dataset("nodes/fc/type", data=["x" * 2**20] * 3, dtype=h5py.string_dtype())
    root.create_dataset("texts", (2**29,), h5py.string_dtype())


def named_type(root):
    root["nodes/fc/type2"] = np.dtype("f4")


FLOATS = np.zeros((4, 12), np.float32)
PAIR = np.dtype([("a", "f4"), ("b", "f4")])

HDF5 = {
    "a shape of 10^12": (put("nodes/fc/weight", shape=(10**6, 10**6), dtype="f4"), "claims 4,000,000,000,000 bytes"),
    "a shape of 10^12 in chunks": (
        put("nodes/fc/weight", shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000), compression="gzip"),
        "claims 4,000,000,000,000 bytes",
    ),
    "a text of 2^29 pieces": (huge_text, "claims 8,589,934,592 bytes"),
    "a shape beyond the machine": (
        put("nodes/fc/weight", shape=(2**62,), dtype="i1"),
        r"bytes; a file of [\d,]+ may hold",
    ),
    "nothing written": (put("nodes/fc/weight", shape=(4, 12), dtype="f4"), "but holds no data"),
    "no chunk written": (put("nodes/fc/weight", shape=(4, 12), dtype="f4", chunks=(2, 12)), "0 of its 2 chunks"),
    "zeros that pack well": (
        put("nodes/fc/weight", data=np.zeros((4096, 4096), np.float32), chunks=(512, 4096), compression="gzip"),
        "claims 67,108,864 bytes",
    ),
    "huge chunks": (big_chunk_claim, "claims 2,147,483,648 bytes"),
    "a gzip bomb": (gzip_bomb, "has a chunk of other than the 192 bytes"),
    "a chunk that is not packed": (not_gzip, "a damaged one"),
    "an unknown filter": (unknown_filter, "by other means than gzip"),
    "lzf": (put("nodes/fc/weight", data=FLOATS, compression="lzf"), "by other means than gzip"),
    "checksums": (put("nodes/fc/weight", data=FLOATS, fletcher32=True), "by other means than gzip"),
    "scale and offset": (put("nodes/fc/weight", data=FLOATS, scaleoffset=2), "by other means than gzip"),
    "external storage": (
        put("nodes/fc/weight", shape=(4,), dtype="u1", external=[("/etc/hostname", 0, 4)]),
        "stored outside of the file",
    ),
    "a virtual dataset": (virtual, "stored outside of the file"),
    "an external link": (external_link, "link to elsewhere"),
    "a soft link": (soft_link, "link to elsewhere"),
    "a group in itself": (hard_link, "under several names"),
    "deep groups": (deep, "goes beyond 10,000 names or 40 levels"),
    "many names": (many, "goes beyond 10,000 names or 40 levels"),
    "a named type": (named_type, "neither a group nor a dataset"),
    "references": (reference, "neither a plain number nor text"),
    "pairs": (put("nodes/fc/weight", data=np.zeros((4, 12), PAIR)), "neither a plain number nor text"),
    "complex numbers": (put("nodes/fc/weight", data=FLOATS * 1j), "neither a plain number nor text"),
    "long doubles": (put("nodes/fc/weight", data=FLOATS.astype(np.longdouble)), "neither a plain number nor text"),
    "opaque bytes": (put("nodes/fc/weight", data=np.zeros((4, 12), "V4")), "neither a plain number nor text"),
    "arrays as values": (put("nodes/fc/weight", shape=(4,), dtype=np.dtype(("f4", (12,)))), "nor text"),
    "rows of any length": (put("nodes/fc/weight", shape=(4,), dtype=h5py.vlen_dtype("f4")), "nor text"),
    "an enumeration": (
        put("nodes/fc/weight", data=FLOATS.astype(int), dtype=h5py.enum_dtype({"A": 0}, int)),
        "nor text",
    ),
    "a node without name": (lambda root: root.move("nodes/fc", "nodes/\x1b[31mfc\n"), "is no printable name"),
}

VALUES = {
    "text for weights": (
        put("nodes/fc/weight", data=["a", "b"], dtype=h5py.string_dtype()),
        "field 'weight' is neither a number",
    ),
    "text of another code": (put("nodes/fc/type", data=b"\xff\xfe", dtype="S2"), "is text that is not UTF-8"),
    "nothing for weights": (put("nodes/fc/weight", data=h5py.Empty("f4")), "field 'weight' is neither a number"),
    "NaN": (put("nodes/fc/weight", data=FLOATS * np.nan), "weight holds NaN or infinity"),
    "too large for float32": (
        put("nodes/fc/weight", data=np.full((4, 12), 1e300)),
        "weight holds numbers that float32 cannot",
    ),
    "weights of another shape": (
        put("nodes/fc/weight", data=np.zeros((4, 13))),
        r"node 'fc' \(Affine\): weight \(4, 13\)",
    ),
    "an image for weights": (put("nodes/fc/weight", data=np.zeros((4, 12, 1, 1, 1))), "weight must have 2 dimension"),
    "an empty array": (put("nodes/fc/weight", data=np.zeros((0, 12))), "weight is empty"),
    "a stride of 0": (put("nodes/conv/stride", data=[0, 0]), "stride must be"),
    "a stride in words": (put("nodes/conv/stride", data="two"), "stride must be"),
    "a negative shape": (put("nodes/x/shape", data=[-2, 5, 5]), "sizes of 1 or more"),
    "a shape with a fraction": (put("nodes/x/shape", data=[2.5, 5, 5]), "must be a shape"),
    "a time constant of 0": (put("nodes/lif/tau", data=np.zeros(3)), "tau must be 1 or more"),
    "a group for a value": (
        lambda root: (root.__delitem__("nodes/fc/bias"), root.create_group("nodes/fc/bias")),
        "field 'bias' is neither",
    ),
    "a value for a group": (put("nodes/fc", data=1), "node 'fc' is a single value"),
    "no type": (lambda root: root.__delitem__("nodes/fc/type"), "node 'fc' has no 'type'"),
    "an unknown type": (put("nodes/fc/type", data="__import__"), "__import__"),
    "a number for a type": (put("nodes/fc/type", data=7), "is a 7, which is not"),
    "an array for the type of all": (put("type", data=[1, 2]), "the file holds no graph: 'graph/type' is not 'Graph'"),
    "no nodes": (lambda root: root.__delitem__("nodes"), "no group 'nodes'"),
    "no edges": (lambda root: root.__delitem__("edges"), "no group 'edges'"),
    "no root": (lambda root: root.file.__delitem__(root.name), "no group 'graph'"),
}


def refused(suffix, changes, folder):
    """Change a sound file in each of these ways: what is not refused with its reason."""
    paths = []
    for index, (change, _) in enumerate(changes.values()):
        paths.append(folder / f"{index}{suffix}")
        paths[-1].write_bytes(sound(suffix))
        with h5py.File(paths[-1], "r+") as file:
            change(file[TREES[suffix]])
    return [
        (name, outcome, message)
        for (name, (_, reason)), (outcome, message) in zip(changes.items(), outcomes(paths), strict=True)
        if outcome != "refused" or not re.search(reason, message)
    ]


@pytest.mark.parametrize("suffix", TREES)
def test_hostile_hdf5_is_refused_with_the_reason(suffix, tmp_path):
    assert not refused(suffix, HDF5, tmp_path)


def test_values_that_no_node_takes_are_refused_by_name(tmp_path):
    assert not refused(".t1c", VALUES, tmp_path)


def test_values_that_no_node_takes_are_refused_in_one_line_where_nir_reads_them(tmp_path):
    assert not refused(".nir", {name: (change, "") for name, (change, _) in VALUES.items()}, tmp_path)


def test_the_changes_are_what_is_refused(tmp_path):
    """The sound files are read, also with changes that mean nothing."""
    paths = []
    for suffix in (".nir", ".t1c", ".npz"):
        paths.append(tmp_path / f"sound{suffix}")
        paths[-1].write_bytes(sound(suffix))
    for suffix, root in TREES.items():
        paths.append(tmp_path / f"newer{suffix}")
        paths[-1].write_bytes(of_newer_hdf5(suffix))
        for index, how in enumerate(
            [
                {"data": FLOATS, "chunks": (3, 5)},
                {"data": FLOATS, "chunks": (3, 5), "compression": "gzip", "shuffle": True},
                {"data": FLOATS.astype(">f8")},
                {"data": FLOATS.astype(np.int8), "shuffle": True, "chunks": (1, 12), "maxshape": (None, None)},
                {"data": FLOATS.astype(np.float16)},
            ]
        ):
            paths.append(tmp_path / f"{index}{suffix}")
            paths[-1].write_bytes(sound(suffix))
            with h5py.File(paths[-1], "r+") as file:
                put("nodes/fc/weight", **how)(file[root])
                file[f"{root}/nodes/fc"].attrs["anything"] = "attributes are not looked at"
    found = outcomes(paths)
    assert [outcome for outcome, _ in found] == ["read"] * len(paths), found


@pytest.mark.parametrize("suffix", TREES)
def test_a_user_block_is_refused(suffix, tmp_path):
    with h5py.File(tmp_path / f"a{suffix}", "w", userblock_size=512) as file:
        file["version"] = "x"
    [(outcome, message)] = outcomes([tmp_path / f"a{suffix}"])
    assert outcome == "refused"
    assert "starts with a user block" in message


def test_stored_values_are_those_that_hdf5_reads(tmp_path):
    """All layouts and filters that are read here and not by HDF5."""
    rng = np.random.default_rng(3)
    path = tmp_path / "a.h5"
    made = {}
    with h5py.File(path, "w") as file:
        for dtype in ("<f4", ">f4", "<f8", "<f2", "i1", "<u2", ">i8", "?"):
            for shape in ((), (1,), (7,), (5, 6), (2, 3, 4, 5)):
                values = (rng.normal(size=shape) * 50).astype(dtype)
                ways = [{}]
                if shape:
                    chunks = tuple(max(1, n // 2 + 1) for n in shape)
                    ways += [{"chunks": chunks}, {"chunks": chunks, "compression": "gzip"}]
                    ways += [{"chunks": chunks, "shuffle": True}, {"compression": "gzip", "shuffle": True}]
                for way in ways:
                    name = f"{dtype}{shape}{len(made)}"
                    made[name] = values
                    file.create_dataset(name, data=values, **way)
        words = np.array([["", "ä"], ["x" * 5000, "b"]], object)
        file.create_dataset("words", data=words, dtype=h5py.string_dtype())
        file.create_dataset("packed", data=words, dtype=h5py.string_dtype(), compression="gzip")
        file.create_dataset("fixed", data=np.array([b"ab", b"c"]))
        file["word"] = "one"
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        made["compact"] = np.arange(6.0).reshape(2, 3)
        space = h5py.h5s.create_simple((2, 3))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F64LE, space, plist).write(
            h5py.h5s.ALL, h5py.h5s.ALL, made["compact"]
        )
    read = hdf5.read(path, "HDF5")
    for name, values in made.items():
        np.testing.assert_array_equal(read[name], values)
        assert read[name].dtype == values.dtype, name
    for name in ("words", "packed"):
        np.testing.assert_array_equal(read[name], words)
    assert read["fixed"].tolist() == ["ab", "c"]
    assert read["word"] == "one"


# --- hostile .npz ---


class Payload:
    """What pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def npy(shape, dtype="<f4", body=b"", order=False):
    header = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def npz(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def pickled(path):
    objects = np.empty(2, object)
    objects[:] = Payload(path.with_suffix(".executed"))
    np.savez(path, x=objects)


def raw_pickle(path):
    path.write_bytes(pickle.dumps(Payload(path.with_suffix(".executed"))))


def zip_bomb(path):
    """A few MB that unpack to 1 GiB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as x,
    ):
        x.write(npy((2**16, 2**12)))
        for _ in range(64):
            x.write(bytes(2**24))


NPZ = {
    "object arrays": pickled,
    "a pickle": raw_pickle,
    "a shape of 10^12": lambda path: npz(path, x=npy((10**6, 10**6), body=bytes(64))),
    "a shape of 10^12, packed": lambda path: npz(path, zipfile.ZIP_DEFLATED, x=npy((10**6, 10**6), body=bytes(64))),
    "a shape beyond the machine": lambda path: npz(path, x=npy((2**62, 2**62))),
    "a negative shape": lambda path: npz(path, x=npy((-1, 4), body=bytes(64))),
    "less data than claimed": lambda path: npz(path, x=npy((8, 4), body=bytes(64))),
    "more data than claimed": lambda path: npz(path, x=npy((2, 4), body=bytes(64))),
    "a type of 1 GiB": lambda path: npz(path, x=npy((1, 1), f"|V{2**30}")),
    "code in the header": lambda path: npz(path, x=npy("__import__('os').system('true')")),
    "a deep header": lambda path: npz(path, x=npy("(" * 3000 + ")" * 3000)),
    "no array": lambda path: npz(path, x=b"no array at all"),
    "text": lambda path: np.savez(path, x=np.array([["a", "b"]])),
    "dates": lambda path: np.savez(path, x=np.zeros((2, 2), "M8[s]")),
    "complex numbers": lambda path: np.savez(path, x=np.zeros((2, 2), complex)),
    "one dimension": lambda path: np.savez(path, x=np.zeros(3)),
    "no samples": lambda path: np.savez(path, x=np.zeros((0, 4))),
    "NaN": lambda path: np.savez(path, x=np.full((2, 2), np.nan)),
    "labels of another number": lambda path: np.savez(path, x=np.zeros((3, 2)), y=np.arange(2)),
    "labels with fractions": lambda path: np.savez(path, x=np.zeros((3, 2)), y=np.zeros(3)),
    "nothing": lambda path: npz(path),
    "other names": lambda path: np.savez(path, a=np.zeros((3, 2))),
    "an outer file": lambda path: npz(path, **{"../x": npy((1, 1), body=bytes(4))}),
}


def test_hostile_npz_is_refused_and_nothing_runs(tmp_path):
    paths = []
    for index, make in enumerate(NPZ.values()):
        paths.append(tmp_path / f"{index}.npz")
        make(paths[-1])
    found = outcomes(paths)
    assert not [(name, *result) for name, result in zip(NPZ, found, strict=True) if result[0] != "refused"]
    assert not list(tmp_path.glob("*.executed"))
    pickle.loads(paths[1].read_bytes())  # that this would run is what the test rests on
    assert list(tmp_path.glob("*.executed"))


def test_a_packed_file_that_needs_more_than_the_memory_is_refused(tmp_path):
    zip_bomb(tmp_path / "bomb.npz")
    [(outcome, message)] = outcomes([tmp_path / "bomb.npz"])
    assert outcome == "refused", message


GIANTS = {
    "many neurons": ((2**30,), ir.IF(1.0)),
    "a large image": ((1, 2**15, 2**15), ir.SumPool2d(2)),
    "much padding": ((1, 4, 4), ir.Conv2d(np.ones((1, 1, 2, 2)), padding=2**14)),
    "much padding, few windows": ((1, 4, 4), ir.Conv2d(np.ones((1, 1, 2, 2)), padding=2**14, stride=2**13)),
    "a large convolution": ((1, 2**12, 2**12), ir.Conv2d(np.ones((1, 1, 7, 7)))),
    "a long delay": ((100, 1000), ir.Delay(65_000)),
}


def test_small_files_of_giant_networks_cost_little(tmp_path):
    """Refused, or inspected within the limits where the size is allowed."""
    for name, (shape, node) in GIANTS.items():
        nodes = {
            "x": {"type": "Input", "shape": list(shape)},
            "n": {"type": f"talon_lib.{node.kind}", **fields_of(node)},
            "y": {"type": "talon_lib.Output"},
        }
        graph = {"type": "Graph", "nodes": nodes, "edges": {"src": ["x", "n"], "dst": ["n", "y"]}}
        with h5py.File(tmp_path / f"{name}.t1c", "w") as file:
            t1c._put_all(file, {"version": t1c.VERSION, "graph": graph}, "")
    found = dict(zip(GIANTS, outcomes([tmp_path / f"{name}.t1c" for name in GIANTS]), strict=True))
    assert {name for name, (outcome, _) in found.items() if outcome == "refused"} == set(GIANTS) - {
        "a large convolution"
    }
    assert found["a large convolution"][0] == "read", found


def test_errors_of_a_reader_are_no_tracebacks(tmp_path):
    """Whatever a value of a file breaks in a node is the file's fault."""
    path = tmp_path / "a.t1c"
    path.write_bytes(sound(".t1c"))
    with h5py.File(path, "r+") as file:
        put("nodes/conv/groups", data=np.ones((2, 2)))(file["graph"])
    with pytest.raises(FormatError, match="groups must"):
        ir.read(path)
