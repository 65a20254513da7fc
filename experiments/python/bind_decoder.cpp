// doublep.Decoder: the arrays of Python around a DecoderSession.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "experiments/python/bindings.h"
#include "experiments/python/convert.h"
#include "experiments/python/decoder_session.h"

namespace doublep::python {
namespace {

constexpr const char* kCacheLayout = "[num_kv_heads, tokens, head_dim]";
constexpr const char* kQueryLayout = "[num_query_heads, head_dim]";
constexpr const char* kPromptLayout = "[positions, num_query_heads, head_dim]";

struct Step : DecoderSession::Step {
  nb::object out;  ///< whose memory the output went to, or nothing
  std::size_t heads() const { return result.log_sum_exp.size(); }
};

void prefill(DecoderSession& session, nb::handle k, nb::handle v, nb::handle queries) {
  const TensorIn keys = tensor_in(k, "prefill: k", kCacheLayout, 3);
  const TensorIn values = tensor_in(v, "prefill: v", kCacheLayout, 3);
  std::optional<TensorIn> asked;
  if (!queries.is_none()) asked = tensor_in(queries, "prefill: prefill_queries", kPromptLayout, 3);
  const WithoutLock unlocked;
  session.prefill(keys, values, asked ? &*asked : nullptr);
}

void append(DecoderSession& session, nb::handle k, nb::handle v) {
  const TensorIn keys = tensor_in(k, "append: k", kCacheLayout, 3);
  const TensorIn values = tensor_in(v, "append: v", kCacheLayout, 3);
  const WithoutLock unlocked;
  session.append(keys, values);
}

Step step(DecoderSession& session, nb::handle q, bool audit, bool counts, nb::object out) {
  const TensorIn queries = tensor_in(q, "step: q", kQueryLayout, 2);
  nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cuda> target;
  DecoderSession::Output output{};
  if (!out.is_none()) {
    if (!nb::try_cast(out, target, false))
      fail_input(
          "step: out is another thing than a tensor of float32 [num_query_heads, value_dim] on "
          "a GPU, packed; expected that, or None");
    output = {target.data(), static_cast<std::int64_t>(target.shape(0)),
              static_cast<std::int64_t>(target.shape(1))};
  }
  const Detail detail = audit ? Detail::kSelections : counts ? Detail::kCounts : Detail::kOutput;
  DecoderSession::Step done;
  {
    const WithoutLock unlocked;
    done = session.step(queries, detail, output.data ? &output : nullptr);
  }
  return {std::move(done), std::move(out)};
}

DecoderSession::State state(const DecoderSession& session) {
  const WithoutLock unlocked;
  return session.state();
}

nb::dict index_cost(const DecoderSession& session) {
  const IndexCost cost = state(session).index_cost;
  nb::dict out;
  out["memory_bytes"] = cost.memory_bytes;
  out["build_bytes"] = cost.build.bytes, out["build_flops"] = cost.build.flops;
  return out;
}

nb::object costs(const Step& step, double Work::*what) {
  const auto& cost = step.result.cost;
  if (step.result.counts.empty()) return nb::none();  // not all of it is known
  std::vector<double> values;
  for (const StepCost& head : cost)
    for (const Work& stage : head.stages) values.push_back(stage.*what);
  return array_out(std::move(values), {cost.size(), std::size_t{kNumStages}});
}

nb::object counts(const Step& step, std::int64_t ReadCounts::*what) {
  if (step.result.counts.empty()) return nb::none();
  std::vector<std::int64_t> values;
  for (const ReadCounts& head : step.result.counts) values.push_back(head.*what);
  return array_out(std::move(values), {step.heads()});
}

nb::object audits(nb::handle self) {
  const auto& all = nb::cast<const Step&>(self).result.audits;
  if (all.empty()) return nb::none();
  std::vector<double> values;
  for (const MassAudit& head : all) values.insert(values.end(), {head.mass, head.low, head.high});
  return array_out(std::move(values), {all.size(), 3});
}

nb::object selections(const Step& step) {
  if (step.result.selections.empty()) return nb::none();
  nb::list all;
  for (const Selection& head : step.result.selections) {
    nb::dict out;
    std::vector<std::int32_t> clusters;
    std::vector<double> masses;
    for (const ClusterTerm& term : head.terms)
      clusters.push_back(term.cluster), masses.push_back(term.log_mass);
    const std::size_t terms = clusters.size();
    out["tokens"] = array_out(std::vector(head.tokens), {head.tokens.size()});
    out["log_weights"] = array_out(std::vector(head.log_weights), {head.log_weights.size()});
    out["clusters"] = array_out(std::move(clusters), {terms});
    out["log_masses"] = array_out(std::move(masses), {terms});
    out["target_p"] = head.target_p, out["target_error"] = head.target_error;
    all.append(out);
  }
  return all;
}

void bind_step(nb::module_& m) {
  nb::class_<Step>(m, "StepResult", "What one decode step gave: arrays with a row a query head.")
      .def_prop_ro(
          "output",
          [](nb::handle self) {
            const auto& step = nb::cast<const Step&>(self);
            if (!step.out.is_none()) return step.out;
            return array_out(step.result.output,
                             {step.heads(), step.result.output.size() / step.heads()}, self);
          },
          "float32 [num_query_heads, value_dim]: the attention's output; `out` where it went "
          "there.")
      .def_prop_ro(
          "log_sum_exp",
          [](nb::handle self) {
            const auto& step = nb::cast<const Step&>(self);
            return array_out(step.result.log_sum_exp, {step.heads()}, self);
          },
          "float64 [num_query_heads], nats: log of the softmax's denominator.")
      .def_prop_ro(
          "bytes", [](const Step& self) { return costs(self, &Work::bytes); },
          "float64 [num_query_heads, 4], bytes read by stage (doublep.STAGES): the head's even "
          "share of what its group reads, in elements of the decoder's kv_dtype. None without "
          "counts, as all figures below.")
      .def_prop_ro(
          "flops", [](const Step& self) { return costs(self, &Work::flops); },
          "float64 [num_query_heads, 4], floating-point operations by stage (doublep.STAGES).")
      .def_ro("visible_tokens", &Step::visible_tokens,
              "int: tokens of the cache that the step saw.")
      .def_prop_ro(
          "exact_tokens", [](const Step& self) { return counts(self, &ReadCounts::tokens); },
          "int64 [num_query_heads]: tokens attended exactly.")
      .def_prop_ro(
          "approximated_clusters",
          [](const Step& self) { return counts(self, &ReadCounts::terms); },
          "int64 [num_query_heads]: clusters entered as one term.")
      .def_prop_ro("mass_audit", audits,
                   "float64 [num_query_heads, 3]: the policy's own sampled estimate of the mass it "
                   "covers and its interval's ends (parameter `audit`); None where it makes none.")
      .def_prop_ro(
          "selections", [](const Step& step) { return selections(step); },
          "With step(audit=True) a dict a query head, else None. tokens: int32, positions "
          "attended exactly, ascending; log_weights: float32, added to their logits (empty: "
          "nothing); clusters: int32, entered as one term, with log_masses: float64, nats; "
          "target_p and target_error: what the policy promises, NaN where nothing.");
}

}  // namespace

void bind_decoder(nb::module_& m) {
  bind_step(m);
  nb::class_<DecoderSession>(
      m, "Decoder",
      "A policy over one layer's KV cache, one decode step after the other.\n\n"
      "policy and **parameters are in the words of doublep.policies(); variant=\"best\" is one of\n"
      "them. backend: \"cpu\", \"cuda\" or \"auto\". softmax_scale multiplies every dot product;\n"
      "None: 1/sqrt(head_dim). kv_dtype: element size that bytes are counted with (\"fp32\", "
      "\"fp16\",\n"
      "\"bf16\", \"fp8\": attended as E4M3 stores it). seed and layer key what sampling policies "
      "draw. capacity: tokens that a "
      "copy\n"
      "of the cache has room for without moving; on CUDA none can be appended beyond it (None: "
      "the\n"
      "prompt's and 4096). Arrays are NumPy's, or tensors of whatever speaks DLPack, which on "
      "CUDA\n"
      "may lie on the GPU: then all of a sequence do, in the type that kv_dtype says.\n"
      "Keys and queries are as they enter the dot product (after the rotary embedding).")
      .def(
          "__init__",
          [](DecoderSession* self, std::string policy, std::string backend,
             std::optional<double> softmax_scale, std::string kv_dtype, std::int64_t seed,
             std::int64_t layer, std::optional<std::int64_t> capacity,
             const nb::kwargs& parameters) {
            new (self) DecoderSession({std::move(policy), std::move(backend), std::move(kv_dtype),
                                       seed, parameters_in(parameters)},
                                      {softmax_scale, layer, capacity});
          },
          nb::arg("policy"), nb::arg("backend") = "cpu", nb::kw_only(),
          nb::arg("softmax_scale") = nb::none(), nb::arg("kv_dtype") = "bf16", nb::arg("seed") = 0,
          nb::arg("layer") = 0, nb::arg("capacity") = nb::none(), nb::arg("parameters"))
      .def("prefill", &prefill, nb::arg("k"), nb::arg("v"), nb::arg("prefill_queries") = nb::none(),
           "Starts a sequence and builds the index over the prompt; called again, starts "
           "another.\n\n"
           "k: [num_kv_heads, tokens, head_dim], v: [num_kv_heads, tokens, value_dim], as\n"
           "prefill_queries: [positions, num_query_heads, head_dim] of the prompt's last "
           "positions,\n"
           "oldest first, which some parameters learn from; a batch dimension of 1 may stand "
           "before.\n"
           "float32 with packed rows (stride head_dim between tokens, any common one between "
           "heads)\n"
           "is read in place, without a copy, until an append moves it: leave it unchanged. Other\n"
           "strides, float16 and bfloat16 are copied to float32 here, and all is on CUDA. Tensors "
           "on\n"
           "the GPU are copied there, into the order of their clusters.")
      .def("append", &append, nb::arg("k"), nb::arg("v"),
           "Tokens generated since: k [num_kv_heads, n, head_dim], v [num_kv_heads, n, "
           "value_dim].\n\n"
           "Where they are the rows behind the last ones of the same larger float32 array,\n"
           "prefill(k[:, :n], v[:, :n]) then append(k[:, n:n+1], v[:, n:n+1]), nothing is copied;\n"
           "else they are, and the first time the whole cache is.")
      .def("step", &step, nb::arg("q"), nb::arg("audit") = false, nb::kw_only(),
           nb::arg("counts") = true, nb::arg("out") = nb::none(),
           "Attends one query a head, [num_query_heads, head_dim], and returns a StepResult.\n\n"
           "Query head h reads KV head h / (num_query_heads / num_kv_heads). audit=True adds what\n"
           "was selected (StepResult.selections); counts=False leaves out what was read and cost,\n"
           "which a GPU has to bring back. out: where q lies on a GPU, a float32 tensor\n"
           "[num_query_heads, value_dim] there that takes the output.")
      .def_prop_ro(
          "policy", [](const DecoderSession& d) { return d.run().policy; }, "str")
      .def_prop_ro(
          "parameters",
          [](const DecoderSession& d) { return from_json(d.run().parameters_json()); },
          "dict: every parameter with its value, defaults included.")
      .def_prop_ro(
          "backend", [](const DecoderSession& d) { return d.on_cpu() ? "cpu" : "cuda"; },
          "str: \"cpu\" or \"cuda\", what it runs on.")
      .def_prop_ro(
          "length", [](const DecoderSession& d) { return state(d).length; }, "int: visible tokens.")
      .def_prop_ro(
          "reads_in_place", [](const DecoderSession& d) { return state(d).in_place; },
          "bool: the cache is the caller's memory, not a copy.")
      .def_prop_ro(
          "on_gpu", [](const DecoderSession& d) { return state(d).on_gpu; },
          "bool: the cache came as tensors on the GPU, and what joins and asks has to, too.")
      .def_prop_ro(
          "index_cost", index_cost,
          "dict: memory_bytes of the index now; build_bytes read and build_flops of every build.");
}

}  // namespace doublep::python
