#!/usr/bin/env python3
"""Makes the files of this folder again, byte by byte the same: `python3 tests/corpus/make.py`.

One small checkpoint (a layer of each kind, width 2) in every form that is read, and files that
lie, each in one way. `expected.json` says of every file what its message must hold besides the
path; `null` where it loads. Needs Python alone.
"""

import io
import json
import struct
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
EXPECTED = {}


def write(name, content, expected):
    """A file of the corpus; `expected`: parts of the message, None where it loads."""
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    EXPECTED[name] = expected


def dump(value):
    return json.dumps(value, separators=(",", ":")).encode()


# The checkpoint.

WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<Pos>", "<Ori>", "a", "b", "ab"]
VISION = {
    "hidden_size": 2, "num_hidden_layers": 1, "select_layer": -1, "num_attention_heads": 1,
    "intermediate_size": 2, "image_size": 2, "patch_size": 2, "layer_norm_eps": 1e-6,
}
LANGUAGE = {
    "vocab_size": 8, "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1, "rope_theta": 1e6, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True, "max_position_embeddings": 64,
}
CONFIG = {
    "name": "small", "notice": "", "vision": VISION, "pooling": {"mode": "bilinear", "stride": 1},
    "newline": "no_token", "frame_fit": "squash", "camera": {"kind": "none"}, "camera_token_dim": 0,
    "language": LANGUAGE,
    "heads": {
        "uncertainty": "log_variance", "max_log_variance": 10.0, "input": "final_norm",
        "bin_centers": "half", "bev_axes": "right_forward",
    },
    "num_frames": 1,
    "prompt": {
        "system": "", "add_time_instruction": False, "pseudo_situation": "a", "open_hint": "",
        "choice_hint": "",
    },
}
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [
        {"id": k, "content": WORDS[k], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for k in range(5)
    ],
    "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
    "model": {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {word: k for k, word in enumerate(WORDS)}, "merges": [["a", "b"]],
    },
}


def shapes():
    tower = "model.vision_tower.vision_tower.vision_model."
    layer, first = tower + "encoder.layers.0.", "model.layers.0."
    found = {
        tower + "embeddings.patch_embedding.weight": [2, 3, 2, 2],
        tower + "embeddings.patch_embedding.bias": [2],
        tower + "embeddings.position_embedding.weight": [1, 2],
        "model.embed_tokens.weight": [8, 2],
        "model.norm.weight": [2],
        first + "input_layernorm.weight": [2],
        first + "post_attention_layernorm.weight": [2],
        first + "self_attn.o_proj.weight": [2, 2],
    }
    linear = {
        layer + "self_attn.q_proj": 2, layer + "self_attn.k_proj": 2, layer + "self_attn.v_proj": 2,
        layer + "self_attn.out_proj": 2, layer + "mlp.fc1": 2, layer + "mlp.fc2": 2,
        "model.mm_projector.0": 2, "model.mm_projector.2": 2, "model.f_proj": 4,
        "model.f_pos.0": 2, "model.f_pos.2": 4, "model.f_ori.0": 2, "model.f_ori.2": 36,
        first + "self_attn.q_proj": 2, first + "self_attn.k_proj": 2, first + "self_attn.v_proj": 2,
    }
    for name, rows in linear.items():
        found[name + ".weight"], found[name + ".bias"] = [rows, 2], [rows]
    for norm in ["layer_norm1", "layer_norm2"]:
        found[layer + norm + ".weight"], found[layer + norm + ".bias"] = [2], [2]
    for part in ["gate_proj", "up_proj", "down_proj"]:
        found[first + "mlp." + part + ".weight"] = [2, 2]
    return dict(sorted(found.items()))


def count(shape):
    product = 1
    for side in shape:
        product *= side
    return product


def numbers(shape, seed):
    """f16 numbers between -1 and 1."""
    return b"".join(struct.pack("<e", ((7 * k + seed) % 17 - 8) / 8) for k in range(count(shape)))


TENSORS = {name: (shape, numbers(shape, k)) for k, (name, shape) in enumerate(shapes().items())}

# Safetensors.


def safetensors(entries, data):
    header = entries if isinstance(entries, bytes) else dump(entries)
    return struct.pack("<Q", len(header)) + header + data


def described(tensors):
    entries, data = {}, b""
    for name, (shape, content) in tensors.items():
        entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return entries, data


def entry(shape, start, end):
    return {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}


SAFETENSORS = safetensors(*described(TENSORS))


def make_safetensors():
    def case(name, content, expected):
        write(f"safetensors/{name}.safetensors", content, expected)

    case("sound", SAFETENSORS, None)
    # A tensor without numbers whose shape is larger than any memory; its name is one that is not needed.
    entries, data = described(TENSORS)
    case("nothing_of_a_huge_shape",
         safetensors({"position_ids": entry([0, 1 << 60], 0, 0), **entries}, data), None)
    broken = dict(TENSORS)
    broken["model.norm.weight"] = ([2], struct.pack("<ee", 1.0, float("nan")))
    case("not_a_number", safetensors(*described(broken)), ["model.norm.weight", "NaN"])
    del broken["model.norm.weight"]
    case("missing", safetensors(*described(broken)), ["model.norm.weight", "missing"])
    case("cut", safetensors({"a": entry([8], 0, 16)}, bytes(9)), ["incomplete", "tensor a"])
    case("empty", b"", [])
    case("length_beyond_the_file", struct.pack("<Q", 1 << 20) + b"{}", ["header"])
    case("length_without_bound", struct.pack("<Q", (1 << 64) - 1) + b"{}", ["header"])
    case("deep", safetensors(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", b""), ["recursion"])
    case("not_utf8", safetensors(b'{"\xff\xfe":{}}', b""), ["UTF-8"])
    case("overlap", safetensors({"a": entry([2], 0, 4), "b": entry([2], 0, 4)}, bytes(4)), ["offset", "tensor"])
    case("backwards", safetensors({"a": entry([2], 4, 0)}, bytes(4)), ["offset", "tensor a"])
    case("huge_shape", safetensors({"a": entry([1 << 62, 1 << 62], 0, 4)}, bytes(4)), ["overflow", "tensor a"])
    case("huge_offset", safetensors({"a": entry([1 << 40], 0, 1 << 41)}, bytes(4)), ["incomplete", "tensor a"])
    case("shape_of_other_bytes", safetensors({"a": entry([4], 0, 4)}, bytes(4)), ["invalid shape", "tensor a"])
    case("negative_shape", safetensors({"a": entry([-2], 0, 4)}, bytes(4)), ["invalid"])
    case("many_dimensions", safetensors({"a": entry([1] * 200, 0, 2)}, bytes(2)), ["unexpected"])
    twice = dump({"a": entry([2], 0, 4)})[:-1] + b"," + dump({"a": entry([2], 4, 8)})[1:]
    case("named_twice", safetensors(twice, bytes(8)), [])


# The index of parts; the file part-1.safetensors lies beside it.


def make_index():
    def case(name, content, expected):
        write(f"index/{name}.json", content if isinstance(content, bytes) else dump(content), expected)

    def mapped(file):
        return {"metadata": {"total_size": 0}, "weight_map": {"model.norm.weight": file}}

    part = "part-1.safetensors"
    case("sound", mapped(part), None)
    case("named_twice", b'{"weight_map":{"a":"part-1.safetensors","a":"part-1.safetensors"}}', None)
    case("missing_part", mapped("part-2.safetensors"), ["part-2.safetensors", "missing"])
    case("outside", mapped("../part-1.safetensors"), ["../part-1.safetensors", "is not the name"])
    case("absolute", mapped("/etc/passwd"), ["/etc/passwd", "is not the name"])
    case("no_safetensors", mapped("config.json"), ["config.json", "is not the name"])
    case("long_name", mapped("x" * 300 + ".safetensors"), ["missing"])
    case("no_map", {"metadata": {}}, ["weight_map"])
    case("map_of_numbers", {"weight_map": {"model.norm.weight": 7}}, [])
    case("deep", b'{"weight_map":' + b"[" * 500 + b"]" * 500 + b"}", ["recursion"])
    case("not_utf8", b'{"weight_map":{"a":"\xff.safetensors"}}', ["index.json"])
    case("cut", dump(mapped(part))[:-9], ["EOF"])
    case("empty", b"", ["EOF"])


# GGUF.


def text(content):
    content = content if isinstance(content, bytes) else content.encode()
    return struct.pack("<Q", len(content)) + content


def value(content):
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return struct.pack("<I", 8) + text(content)
    return struct.pack("<II", 4, content)


def gguf(values, tensors, version=3, tensor_count=None, value_count=None):
    """`values`: pairs; bytes are taken as they are. `tensors`: (name, shape, type, offset, data)."""
    head = b"GGUF" + struct.pack(
        "<IQQ", version, len(tensors) if tensor_count is None else tensor_count,
        len(values) if value_count is None else value_count)
    head += b"".join(text(key) + value(content) for key, content in values)
    for name, shape, kind, offset, _ in tensors:
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", side) for side in reversed(shape)) + struct.pack("<IQ", kind, offset)
    return padded(head) + b"".join(padded(data) for *_, data in tensors)


def padded(content):
    return content + bytes(-len(content) % 32)


def gguf_name(name):
    """What llama.cpp calls a tensor of the decoder."""
    for ours, theirs in [
        ("model.layers.", "blk."), ("model.embed_tokens.", "token_embd."), ("model.norm.", "output_norm."),
        ("post_attention_layernorm.", "ffn_norm."), ("input_layernorm.", "attn_norm."),
        ("self_attn.q_proj.", "attn_q."), ("self_attn.k_proj.", "attn_k."), ("self_attn.v_proj.", "attn_v."),
        ("self_attn.o_proj.", "attn_output."), ("mlp.gate_proj.", "ffn_gate."), ("mlp.up_proj.", "ffn_up."),
        ("mlp.down_proj.", "ffn_down."),
    ]:
        name = name.replace(ours, theirs)
    return name


def stored(tensors):
    found, offset = [], 0
    for name, (shape, content) in tensors.items():
        is_decoder = name.startswith(("model.layers.", "model.embed_tokens.", "model.norm."))
        found.append((gguf_name(name) if is_decoder else name, shape, 1, offset, content))
        offset += len(padded(content))
    return found


VALUES = [
    ("general.architecture", "loc3r"), ("qwen2.context_length", 64), ("qwen2.embedding_length", 2),
    ("qwen2.block_count", 1), ("qwen2.feed_forward_length", 2), ("qwen2.attention.head_count", 1),
    ("qwen2.attention.head_count_kv", 1), ("loc3r.config", dump(CONFIG).decode()),
    ("loc3r.tokenizer", dump(TOKENIZER).decode()),
]
GGUF = gguf(VALUES, stored(TENSORS))


def make_gguf():
    def case(name, content, expected):
        write(f"gguf/{name}.gguf", content, expected)

    def number(bits, content):
        return struct.pack("<IQ" if bits == 64 else "<II", 10 if bits == 64 else 4, content)

    def array(kind, length, content=b""):
        return struct.pack("<IIQ", 9, kind, length) + content

    one = ("a", [2], 1, 0, bytes(4))
    case("sound", GGUF, None)
    case("cut", gguf([], [one])[:-30], ["a", "beyond the end"])
    case("empty", b"", ["cut short"])
    case("not_gguf", b"GGML" + bytes(40), ["does not begin with GGUF"])
    case("first_version", gguf([], [one], version=1), ["version 1"])
    case("big_endian", gguf([], [one], version=3 << 24), ["big-endian"])
    case("tensors_without_bound", gguf([], [one], tensor_count=(1 << 64) - 1), ["too short"])
    case("entries_without_bound", gguf([], [one], value_count=1 << 61), ["too short"])
    case("aligned_to_nothing", gguf([("general.alignment", number(32, 0))], [one]), ["general.alignment"])
    case("aligned_too_far", gguf([("general.alignment", number(64, 1 << 63))], [one]), ["a", "beyond the end"])
    case("text_without_bound", gguf([("qwen2.x", struct.pack("<IQ", 8, (1 << 63) - 1))], [one]),
         ["qwen2.x", "bytes"])
    case("array_without_bound", gguf([("x", array(0, (1 << 64) - 1))], [one]), ["x", "are wanted"])
    case("array_of_texts_without_bound", gguf([("x", array(8, 1 << 61))], [one]), ["x", "too short"])
    nested = b"".join(struct.pack("<IQ", 9, 1) for _ in range(50)) + struct.pack("<IQ", 0, 0)
    case("array_in_array", gguf([("x", struct.pack("<I", 9) + nested)], [one]), ["x", "nested"])
    case("value_of_no_type", gguf([("x", struct.pack("<I", 77))], [one]), ["x", "type 77"])
    case("key_not_utf8", gguf([(b"\xff\xfe", 1)], [one]), ["UTF-8"])
    case("key_twice", gguf([("qwen2.x", 1), ("qwen2.x", 1)], [one]), ["qwen2.x", "twice"])
    case("tensor_twice", gguf([], [one, ("a", [2], 1, 32, bytes(4))]), ["a", "twice"])
    case("same_bytes", gguf([], [one, ("b", [2], 1, 0, bytes(4))]), ["same bytes"])
    case("no_dimensions", gguf([], [("a", [], 1, 0, bytes(4))]), ["a", "0 dimensions"])
    case("many_dimensions", gguf([], [("a", [1] * 90, 1, 0, bytes(4))]), ["a", "90 dimensions"])
    case("huge_shape", gguf([], [("a", [1 << 63, 4], 1, 0, bytes(4))]), ["a", "impossible"])
    case("large_shape", gguf([], [("a", [1 << 40], 1, 0, bytes(4))]), ["a", "beyond the end"])
    case("empty_shape", gguf([], [("a", [0, 1 << 60], 1, 0, bytes(4))]), ["a", "impossible"])
    case("no_whole_blocks", gguf([], [("a", [33], 8, 0, bytes(36))]), ["a", "impossible"])
    case("unknown_numbers", gguf([], [("a", [2], 99, 0, bytes(4))]), ["a", "type 99"])
    case("odd_offset", gguf([], [("a", [2], 1, 3, bytes(8))]), ["a", "no multiple"])
    case("offset_wraps", gguf([], [("a", [2], 1, (1 << 64) - 32, bytes(4))]), ["a", "beyond the end"])


# Pickles in PyTorch's archives.


def word(content):
    content = content if isinstance(content, bytes) else content.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def whole(number):
    if 0 <= number < 256:
        return b"K" + bytes([number])
    content = number.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def sizes(shape):
    return b"(" + b"".join(whole(side) for side in shape) + b"t"


def tensor(name, key, offset, shape, stride=None):
    """One entry of a state dictionary, as `torch.save` writes it."""
    if stride is None:
        stride = [count(shape[k + 1:]) for k in range(len(shape))]
    storage = b"(" + word("storage") + b"ctorch\nHalfStorage\n" + word(key) + word("cpu") + whole(0) + b"tQ"
    tail = b"\x89ccollections\nOrderedDict\n)R"
    return (word(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + whole(offset) + sizes(shape)
            + sizes(stride) + tail + b"tR")


REPEATED = [
    b"(" + word("storage") + b"ctorch\nHalfStorage\n" + word("0") + word("cpu") + whole(0) + b"tQ",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ccollections\nOrderedDict\n)R",
]


def state(entries):
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + b"".join(entries) + b"u."


def pth(pickle, data=bytes(4), method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in [("a/data.pkl", pickle), ("a/data/0", data)]:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.compress_type = method
            archive.writestr(info, content)
    return file.getvalue()


def sound_pickle(last=None, lacking=0):
    """All tensors in one storage; what is the same for each is remembered and recalled. `last`
    makes another entry of the last tensor, of its name and shape; so many bytes are `lacking`."""
    entries, data = [], b""
    for name, (shape, content) in TENSORS.items():
        entry = tensor(name, "0", len(data) // 2, shape)
        for slot, part in enumerate(REPEATED):
            assert part in entry
            mark = bytes([slot])
            entry = entry.replace(part, b"h" + mark if entries else part + b"q" + mark)
        entries.append(entry)
        data += content
    if last:
        entries[-1] = last(name, shape)
    return pth(state(entries), data[:len(data) - lacking])


def make_pickle():
    def case(name, content, expected):
        write(f"pickle/{name}.pth", content, expected)

    def called(pickle):
        return pth(b"\x80\x02" + pickle)

    sound = sound_pickle()
    one = tensor("a", "0", 0, [2])
    case("sound", sound, None)
    case("cut", pth(state([one]))[:-30], ["1.6"])
    case("no_archive", b"\x80\x02}q\x00.", ["1.6"])
    case("empty", b"", ["1.6"])
    case("runs_a_program", called(b"cos\nsystem\n" + word("true") + b"\x85R."), ["os.system", "only tensors"])
    case("runs_code", called(b"\x8c\x08builtins\x8c\x04eval\x93" + word("1") + b"\x85R."),
         ["builtins.eval", "only tensors"])
    case("runs_code_beside_a_tensor", pth(state([one, word("b") + b"cposix\nsystem\n" + word("ls") + b"\x85R"])),
         ["posix.system", "only tensors"])
    case("pickles_by_the_way", called(b"c_pickle\nUnpickler\n)R."), ["only tensors"])
    case("holds_itself", called(b"}q\x00(" + word("model") + b"h\x00u."), ["no tensors"])
    case("deep", called(b")" + b"\x85" * 1000 + b"."), ["no dictionary"])
    case("marks", called(b"(" * 1000 + b"."), ["never made"])
    case("far_slot", called(b"Nr\xff\xff\xff\xff."), ["4294967295"])
    case("text_without_bound", called(b"\x8d" + struct.pack("<Q", (1 << 64) - 1) + b"a."), ["ends early"])
    case("number_without_bound", called(b"\x8b\xff\xff\xff\x7f."), ["ends early"])
    case("huge_shape", pth(state([tensor("a", "0", 0, [1 << 62, 1 << 62])])), ["a has the shape"])
    case("large_shape", pth(state([tensor("a", "0", 0, [1 << 40])])), ["a has the shape"])
    case("far_offset", pth(state([tensor("a", "0", 1 << 62, [2])])), ["a has the shape"])
    case("negative_shape", pth(state([tensor("a", "0", 0, [-2], [1])])), ["-2"])
    case("many_dimensions", pth(state([tensor("a", "0", 0, [1] * 50)])), ["50 dimensions"])
    last = list(TENSORS)[-1]
    case("larger_than_its_data", sound_pickle(lacking=2), [last, "bytes"])
    case("no_such_data", sound_pickle(lambda name, shape: tensor(name, "9", 0, shape)), [last, "a/data/9"])
    backwards = sound_pickle(lambda name, shape: tensor(name, "0", 0, shape, [0] * len(shape)))
    case("not_in_order", backwards, [last, "contiguous"])
    case("unknown_storage", pth(state([tensor("a", "0", 0, [2]).replace(b"HalfStorage", b"OddStorage")])),
         ["a is stored as OddStorage"])
    # A name that each of many tensors would copy.
    name = b"(" + word("storage") + b"ctorch\nHalfStorage\n" + word("0" * 500) + b"q\x01" + word("cpu") + whole(0) + b"tQ"
    copies = word("a") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + name + whole(0) + b"))tq\x02R0"
    again = b"ctorch._utils\n_rebuild_tensor_v2\nh\x02R0" * 20
    case("long_name_again_and_again", pth(state([copies + again + b"N"])), ["500 bytes"])
    case("not_utf8", pth(state([word(b"\xff\xfe") + one[len(word("a")):]])), ["unexpected"])
    # Packed: ten million zeros in ten thousand bytes would be a file, too.
    case("packed", pth(bytes(100_000), method=zipfile.ZIP_DEFLATED), ["data.pkl"])
    # The directory says 4 GB, and so does the tensor.
    lie = pth(state([tensor("model.norm.weight", "0", 0, [2_000_000_000])]), bytes(6))
    at = lie.rindex(b"PK\x01\x02")
    lie = lie[:at + 20] + struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0) + lie[at + 28:]
    case("directory_lies_of_sizes", lie, ["model.norm.weight has the shape"])
    few = pth(state([one]))
    many = few[:-14] + struct.pack("<HH", 0xFFFE, 0xFFFE) + few[-10:]
    case("directory_lies_of_files", many, ["1.6"])


# config.json and tokenizer.json.


def changed(value, path, new):
    """A copy of `value` with another entry at `path`."""
    copy = json.loads(json.dumps(value))
    place = copy
    *way, last = path.split(".")
    for step in way:
        place = place[step]
    place[last] = new
    return copy


def make_config():
    def case(name, content, expected):
        write(f"config/{name}.json", content if isinstance(content, bytes) else dump(content), expected)

    cut3r = {
        "kind": "cut3r", "enc_embed_dim": 4, "enc_depth": 1, "enc_num_heads": 1, "dec_embed_dim": 4,
        "dec_depth": 2, "dec_num_heads": 1, "state_dec_num_heads": 1, "state_size": 1, "local_mem_size": 1,
        "patch_size": 16, "mlp_ratio": 1, "norm_eps": 1e-6, "encoder_rope": "f32", "heads": "linear",
        "image_size": 48,
    }
    with_camera = changed(changed(CONFIG, "camera", cut3r), "camera_token_dim", 4)
    odometry = {
        "kind": "odometry", "dense": {"categories": [], "colors": []},
        "spacing": {"longest_secs": 0.1, "most_frames": 4294967295},
    }
    published = {
        "model_type": "llava_qwen", "vocab_size": 8, "hidden_size": 2, "intermediate_size": 2,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
        "max_position_embeddings": 64, "tie_word_embeddings": True,
    }
    case("sound", CONFIG, None)
    case("field_twice", dump(CONFIG)[:-1] + b',"name":"again"}', None)
    case("no_heads", changed(CONFIG, "vision.num_attention_heads", 0), ["vision.num_attention_heads"])
    case("no_keys", changed(CONFIG, "language.num_key_value_heads", 0), ["language.num_key_value_heads"])
    case("no_patches", changed(CONFIG, "vision.patch_size", 0), ["vision.patch_size"])
    case("no_stride", changed(CONFIG, "pooling.stride", 0), ["pooling.stride"])
    case("no_frames", changed(CONFIG, "num_frames", 0), ["num_frames"])
    case("many_frames", changed(CONFIG, "num_frames", 4294967295), ["num_frames"])
    case("many_layers", changed(CONFIG, "language.num_hidden_layers", (1 << 64) - 1), ["num_hidden_layers"])
    case("many_patches", changed(CONFIG, "vision.image_size", 512), ["pooling.stride"])
    case("wide", changed(CONFIG, "language.intermediate_size", 1 << 60), [])
    case("wider", changed(changed(CONFIG, "language.hidden_size", 1 << 40), "language.num_attention_heads", 2), [])
    case("negative", changed(CONFIG, "language.hidden_size", -2), ["config.json"])
    case("unknown_field", changed(CONFIG, "language.surprise", 1), ["surprise"])
    case("beyond_numbers", dump(CONFIG).replace(b"1000000.0", b"1e999"), ["number out of range"])
    case("camera_is_missing", with_camera, ["missing"])
    case("camera_without_heads", changed(with_camera, "camera.dec_num_heads", 0), ["camera.dec_num_heads"])
    case("camera_without_patches", changed(with_camera, "camera.patch_size", 0), ["camera.patch_size"])
    endless = changed(changed(with_camera, "camera.enc_embed_dim", 0), "camera.enc_depth", 10**18)
    case("camera_without_end", endless, ["camera.enc_"])
    case("odometry_without_end", changed(CONFIG, "camera", odometry), ["most_frames"])
    case("published_but_the_weights_are_not", published, [])
    case("published_without_heads", changed(published, "num_attention_heads", 0), ["num_attention_heads"])
    case("published_lacks_a_number", {k: v for k, v in published.items() if k != "hidden_size"}, ["hidden_size"])
    case("other_model", {"model_type": "gpt2"}, ["gpt2"])
    case("deep", b'{"name":' + b"[" * 500 + b"]" * 500 + b"}", ["recursion"])
    case("no_object", b"[1,2]", ["config.json"])
    case("not_utf8", b'{"name":"\xff"}', ["config.json"])
    case("cut", dump(CONFIG)[:-30], ["EOF"])
    case("empty", b"", ["EOF"])


def make_tokenizer():
    def case(name, content, expected):
        write(f"tokenizer/{name}.json", content if isinstance(content, bytes) else dump(content), expected)

    precompiled = {"type": "Precompiled", "precompiled_charsmap": "/P///w=="}
    padding = {
        "strategy": {"Fixed": 1 << 50}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<|endoftext|>",
    }
    nested = precompiled
    for _ in range(20):
        nested = {"type": "Sequence", "normalizers": [nested]}
    case("sound", TOKENIZER, None)
    case("pads_without_bound", changed(TOKENIZER, "padding", padding), None)
    case("field_twice", dump(TOKENIZER)[:-1] + b',"version":"1.0"}', None)
    case("table_of_four_gigabytes", changed(TOKENIZER, "normalizer", precompiled), ["precompiled"])
    case("table_deep_within", changed(TOKENIZER, "normalizer", nested), ["precompiled"])
    case("large_id", changed(TOKENIZER, "model.vocab", {**TOKENIZER["model"]["vocab"], "c": 4294967295}),
         ["4294967295"])
    case("merge_of_nothing", changed(TOKENIZER, "model.merges", [["x", "y"]]), ["tokenizer.json"])
    case("merge_of_one", changed(TOKENIZER, "model.merges", ["a"]), ["tokenizer.json"])
    case("no_markers", changed(changed(TOKENIZER, "added_tokens", []), "model.vocab", {"a": 0, "b": 1, "ab": 2}),
         ["<|im_start|>"])
    pattern = {"type": "Split", "pattern": {"Regex": "(" * 300}, "behavior": "Isolated", "invert": False}
    case("broken_pattern", changed(TOKENIZER, "pre_tokenizer", pattern), ["tokenizer.json"])
    case("unknown_model", changed(TOKENIZER, "model", {"type": "Magic"}), ["tokenizer.json"])
    case("no_model", {k: v for k, v in TOKENIZER.items() if k != "model"}, ["tokenizer.json"])
    case("deep", b'{"normalizer":' + b"[" * 500 + b"]" * 500 + b"}", ["tokenizer.json"])
    case("deep_beside", b'{"x":' + b"[" * 500 + b"]" * 500 + b"}", ["tokenizer.json"])
    case("no_object", b"[]", ["tokenizer.json"])
    case("not_utf8", b'{"version":"\xff"}', ["tokenizer.json"])
    case("cut", dump(TOKENIZER)[:-30], ["EOF"])
    case("empty", b"", ["EOF"])


def main():
    for make in [make_safetensors, make_index, make_gguf, make_pickle, make_config, make_tokenizer]:
        make()
    lines = [f"  {json.dumps(name)}: {json.dumps(parts)}" for name, parts in sorted(EXPECTED.items())]
    (HERE / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
