// A folder of tensors is a trace, and what is none is refused in one line. This program is linked
// without libhdf5.
#include <fstream>

#include "core/decoder/reference_decoder.h"
#include "core/trace/source.h"
#include "core/trace/trace.h"
#include "tests/support/message.h"
#include "tests/support/tensor_folder.h"

using namespace doublep;
using namespace doublep::test;

namespace {

constexpr TensorFolder::Kind kKinds[] = {TensorFolder::kNpy, TensorFolder::kSafetensors};

void expect_refusal(const TensorFolder& folder, std::initializer_list<std::string> parts) {
  const std::string message = message_of([&] { Trace::open_folder(folder.path()); });
  CAPTURE(message);
  CHECK(contains(message, folder.path()));
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(message, part));
  }
}

}  // namespace

TEST_CASE("a folder of tensors opens without HDF5, and the reference decodes it") {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) REQUIRE(!contains(line, "libhdf5"));
  for (const TensorFolder::Kind kind : kKinds) {
    const TensorFolder folder(kind);
    const Trace trace = Trace::open_folder(folder.path());
    const TraceInfo& info = trace.info();
    CHECK(info.name == "toy");
    CHECK(info.model == "toy");
    CHECK(info.layers == std::vector<int>{1, 10});
    CHECK(info.positions == std::vector<std::int64_t>{16, 17, 19});
    CHECK(info.group_size() == 2);
    CHECK(info.softmax_scale == 0.25);
    const RandomCache data({2, 2, 20, 8, 3});
    const TraceLayer layer = trace.read_layer(10);
    CHECK(layer.keys == data.keys);
    CHECK(layer.values == data.values);
    CHECK(layer.queries == data.queries);
    CHECK(layer.outputs.empty());

    const PolicyInfo& policy = PolicyRegistry::instance().find("double_p");
    ReferenceDecoder decoder(policy, resolve(policy, {}), {});
    decoder.prefill(trace.cache(layer).first(17));
    CHECK(decoder.step(trace.queries(layer, 0), Detail::kSelections).output.size() == 4 * 8);
  }
}

TEST_CASE("16-bit types are read as what they say, and a batch of one is no dimension") {
  const auto keys = [](const TensorFolder& folder) {
    return Trace::open_folder(folder.path()).read_layer(1).keys;
  };
  const RandomCache data({2, 2, 20, 8, 3});
  const auto half = keys(TensorFolder(TensorFolder::kNpy, "F16"));
  const auto same = keys(TensorFolder(TensorFolder::kSafetensors, "F16"));
  const auto brain = keys(TensorFolder(TensorFolder::kSafetensors, "BF16"));
  REQUIRE(half.size() == data.keys.size());
  CHECK(half == same);
  for (std::size_t i = 0; i < half.size(); ++i) {
    CHECK(half[i] == half_to_float(float_to_half(data.keys[i])));
    CHECK(brain[i] == bfloat16_to_float(float_to_bfloat16(data.keys[i])));
  }
  TensorFolder batch(TensorFolder::kNpy);
  batch[batch.name("1", "keys")].shape = {1, 2, 20, 8};
  batch.write();
  CHECK(keys(batch) == data.keys);
}

TEST_CASE("names, layers and positions are what trace.yaml says") {
  TensorFolder folder(TensorFolder::kSafetensors);
  auto& tensors = folder.tensors();
  for (const char* layer : {"1", "10"})
    for (const char* tensor : {"keys", "values", "queries"}) {
      auto moved = tensors.extract(folder.name(layer, tensor));
      moved.key() = std::string(1, tensor[0]) + ".0" + layer + "#";
      tensors.insert(std::move(moved));
    }
  tensors["weight"] = {{3}, "I64", std::string(24, '\1')};  // of no concern
  folder.write();
  folder.spill("trace.yaml",
               "softmax_scale: 0.25\ntensors: '{tensor}.{layer}#'\nlayers: [10]\n"
               "names: {keys: k, values: v, queries: q}\nsliding_window: {10: 7}\n");
  const TraceInfo info = Trace::open_folder(folder.path() + "/").info();
  CHECK(info.name == "toy");
  CHECK(info.layers == std::vector<int>{10});
  CHECK(info.positions == std::vector<std::int64_t>{17, 18, 19});  // the last ones
  CHECK(info.other_attention.at(10) == "sliding_window = 7");
}

TEST_CASE("a tensor may lie in a folder below, or in another .safetensors file") {
  TensorFolder folder(TensorFolder::kNpy);
  std::filesystem::create_directory(folder.file("below"));
  for (const auto& [name, t] : folder.tensors())
    std::filesystem::rename(folder.file(name), folder.file("below/" + name));
  folder.spill("trace.yaml", "softmax_scale: 0.25\ntensors: below/layer{layer}.{tensor}.npy\n");
  CHECK(Trace::open_folder(folder.path()).info().layers == std::vector<int>{1, 10});

  TensorFolder sharded(TensorFolder::kSafetensors);
  auto tenth = sharded.tensors().extract(sharded.name("10", "keys"));
  sharded.write();
  expect_refusal(sharded, {"keys of layer 10", "missing", "layers.{layer}.{tensor}"});
  sharded.spill("more.safetensors", safetensors({{tenth.key(), tenth.mapped()}}));
  CHECK(Trace::open_folder(sharded.path()).info().layers == std::vector<int>{1, 10});
  sharded.spill("again.safetensors", safetensors({{tenth.key(), tenth.mapped()}}));
  expect_refusal(sharded, {"again.safetensors", "more.safetensors", "keys of layer 10", "remove"});
}

TEST_CASE("the hash covers the bytes of every file and their description") {
  const TensorFolder folder(TensorFolder::kNpy), other(TensorFolder::kNpy);
  const Trace trace = Trace::open_folder(folder.path());
  CHECK(Trace::open_folder(other.path()).content_hash() == trace.content_hash());
  for (const std::string name : {"trace.yaml", "layer1.keys.npy", "layer10.queries.npy"}) {
    CAPTURE(name);
    const std::string path = folder.file(name);
    std::ifstream in(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    folder.spill(name, bytes + "#");
    CHECK(contains(message_of([&] { trace.require_unchanged(); }), "changed while"));
    folder.spill(name, bytes);
    CHECK_NOTHROW(trace.require_unchanged());
  }
  folder.spill("notes.npy", "of no concern");
  CHECK_NOTHROW(trace.require_unchanged());
  CHECK(trace_files(folder.path()).size() == 1 + 6 + 1);  // what is never written over
}

TEST_CASE("a folder without a description, or one that does not fit it") {
  const TensorFolder folder(TensorFolder::kNpy);
  const auto said = [&](const std::string& text) { folder.spill("trace.yaml", text); };
  const std::string scale = "softmax_scale: 0.25\n";
  said("tensors: 'layer{layer}.{tensor}.npy'\n");
  expect_refusal(folder, {"trace.yaml", "softmax_scale", "missing"});
  said(scale);
  expect_refusal(folder, {"trace.yaml", "'tensors' is missing"});
  for (const char* pattern : {"keys.npy", "layer{layer}.npy", "{layer}{layer}{tensor}.npy"}) {
    said(scale + "tensors: '" + pattern + "'\n");
    expect_refusal(folder, {"trace.yaml: tensors", "one {layer} and one {tensor}", pattern});
  }
  for (const char* pattern : {"../{layer}.{tensor}.npy", "/tmp/{layer}.{tensor}.npy"}) {
    said(scale + "tensors: '" + pattern + "'\n");
    expect_refusal(folder, {"trace.yaml: tensors", "leaves the folder"});
  }
  said(scale + "tensors: 'L{layer}.{tensor}.npy'\n");
  expect_refusal(folder, {"no file of the folder", "L{layer}.{tensor}.npy", "mend"});
  said(scale + "tensors: 'L{layer}.{tensor}'\n");
  expect_refusal(folder, {"no tensor of the folder's .safetensors files"});
  for (const auto& [more, part] : std::map<std::string, std::string>{
           {"layer: [1]\n", "unknown key 'layer'"},
           {"version: 2\n", "reads version 1"},
           {"rope_applied: false\n", "rope_applied is false"},
           {"layers: [1, 1]\n", "named twice"},
           {"layers: [2]\n", "keys of layer 2 are missing"},
           {"names: {keys: values}\n", "would be both"},
           {"logit_softcap: {first: 30}\n", "expected layers"},
           {"positions: [18, 19]\n", "has 2 entries, expected 3"},
           {"positions: [16, 16, 17]\n", "strictly increasing"},
           {"positions: [16, 17, 20]\n", "there are only 20 keys"}}) {
    CAPTURE(more);
    folder.describe(more);
    expect_refusal(folder, {"toy", part});
  }
  folder.describe("", "0");
  expect_refusal(folder, {"softmax_scale", "positive"});
  folder.describe("", "1e9");
  expect_refusal(folder, {"softmax_scale", "1/sqrt(head_dim)"});
  std::filesystem::remove(folder.file("trace.yaml"));
  expect_refusal(folder, {"folder without trace.yaml", "TRACE_FORMAT.md"});
  CHECK(contains(message_of([&] { Trace::open_folder(folder.file("layer1.keys.npy")); }),
                 "is no folder"));
}

TEST_CASE(
    "shapes that do not fit each other, types that traces do not have, values that are none") {
  for (const TensorFolder::Kind kind : kKinds) {
    const auto broken = [&](const char* layer, const char* name, const auto& breaks,
                            std::initializer_list<std::string> parts) {
      TensorFolder folder(kind);
      breaks(folder[folder.name(layer, name)]);
      folder.write();
      CAPTURE(kind, name);
      expect_refusal(folder, parts);
    };
    broken("10", "keys",
           [](Tensor& t) {
             t.shape = {20, 2, 8};
           },
           {"10", "keys", "shape [20, 2, 8]", "expected [2, 20, 8]", "order"});
    broken("1", "keys",
           [](Tensor& t) {
             t.shape = {40, 8};
           },
           {"keys", "shape [40, 8]", "[KV heads, tokens, head_dim]"});
    broken("1", "queries",
           [](Tensor& t) {
             t.shape = {4, 3, 8};
           },
           {"num_query_heads (3)", "num_kv_heads (2)"});
    broken("1", "values",
           [](Tensor& t) {
             t.shape = {2, 40, 4};
           },
           {"values", "shape [2, 40, 4]", "expected [2, 20, 4]"});
    broken("10", "values", [](Tensor& t) { t.bytes.replace(4, 4, "\0\0\xc0\x7f", 4); },
           {"10", "values", "[0, 0, 1] is nan", "finite"});
    broken("1", "queries", [](Tensor& t) { t.bytes.replace(0, 4, "\0\0\x80\xff", 4); },
           {"queries", "[0, 0, 0] is -inf"});
    broken("1", "queries", [](Tensor& t) { t.bytes.replace(0, 4, "\xff\xff\x7f\x7f", 4); },
           {"queries", "[0, 0, 0]", "1e+15"});
  }
  TensorFolder prompt(TensorFolder::kNpy);
  prompt[prompt.name("1", "prefill_queries")] =
      tensor({17, 4, 8}, std::vector<float>(17 * 4 * 8, 0.5f));
  prompt.write();
  expect_refusal(prompt, {"layer1.prefill_queries.npy", "17 positions", "only 16"});
  prompt[prompt.name("1", "prefill_queries")] =
      tensor({5, 4, 8}, std::vector<float>(5 * 4 * 8, 0.5f));
  prompt.write();
  CHECK(Trace::open_folder(prompt.path()).info().prefill_queries == 5);
}
