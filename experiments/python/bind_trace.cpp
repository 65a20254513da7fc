// doublep.Trace and its layers.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "core/trace/trace.h"
#include "experiments/python/bindings.h"
#include "experiments/python/convert.h"

namespace doublep::python {
namespace {

/// With what shapes its arrays.
struct Layer {
  TraceLayer data;
  std::size_t query_heads, kv_heads, head_dim, value_dim;
};

enum class Heads { kQuery, kKv };

// [kv_heads, n, width] or [n, query_heads, width]; None where the trace has none.
nb::object tensor(nb::handle self, const std::vector<float>& values, Heads heads,
                  std::size_t width) {
  if (values.empty()) return nb::none();
  const auto& layer = nb::cast<const Layer&>(self);
  if (heads == Heads::kKv)
    return array_out(values, {layer.kv_heads, values.size() / layer.kv_heads / width, width}, self);
  return array_out(values, {values.size() / layer.query_heads / width, layer.query_heads, width},
                   self);
}

template <Heads heads>
auto getter(std::vector<float> TraceLayer::*values, std::size_t Layer::*width) {
  return [values, width](nb::handle self) {
    const auto& layer = nb::cast<const Layer&>(self);
    return tensor(self, layer.data.*values, heads, layer.*width);
  };
}

void bind_layer(nb::module_& m) {
  nb::class_<Layer>(m, "TraceLayer",
                    "One layer of a trace in memory: float32 arrays that share it, of T steps.")
      .def_prop_ro(
          "layer", [](const Layer& l) { return l.data.layer; },
          "int: the layer's index in the model.")
      .def_prop_ro("keys", getter<Heads::kKv>(&TraceLayer::keys, &Layer::head_dim),
                   "float32 [num_kv_heads, num_tokens, head_dim].")
      .def_prop_ro("values", getter<Heads::kKv>(&TraceLayer::values, &Layer::value_dim),
                   "float32 [num_kv_heads, num_tokens, value_dim].")
      .def_prop_ro("queries", getter<Heads::kQuery>(&TraceLayer::queries, &Layer::head_dim),
                   "float32 [T, num_query_heads, head_dim].")
      .def_prop_ro("outputs", getter<Heads::kQuery>(&TraceLayer::outputs, &Layer::value_dim),
                   "float32 [T, num_query_heads, value_dim], dense attention as recorded; or None.")
      .def_prop_ro("prefill_queries",
                   getter<Heads::kQuery>(&TraceLayer::prefill_queries, &Layer::head_dim),
                   "float32 [P, num_query_heads, head_dim] of the P prompt positions before "
                   "positions[0]; or None.");
}

}  // namespace

void bind_trace(nb::module_& m) {
  bind_layer(m);
  nb::class_<Trace>(m, "Trace",
                    "A trace: what decode attention of one sequence saw (data/TRACE_FORMAT.md).\n\n"
                    "Opens an HDF5 file or a folder of tensors and checks all of it.")
      .def(
          "__init__",
          [](Trace* self, const std::filesystem::path& path) {
            const WithoutLock unlocked(WithoutLock::Reads::kHdf5);
            new (self) Trace(Trace::open(path.string()));
          },
          nb::arg("path"))
      .def(
          "layer",
          [](const Trace& trace, int layer) {
            const WithoutLock unlocked(WithoutLock::Reads::kHdf5);
            const TraceInfo& info = trace.info();
            return Layer{trace.read_layer(layer), static_cast<std::size_t>(info.num_query_heads),
                         static_cast<std::size_t>(info.num_kv_heads),
                         static_cast<std::size_t>(info.head_dim),
                         static_cast<std::size_t>(info.value_dim)};
          },
          nb::arg("layer"), "Reads a layer, by its index in the model, as a TraceLayer.")
#define DOUBLEP_INFO(name, text) \
  .def_prop_ro(                  \
      #name, [](const Trace& trace) { return trace.info().name; }, text)
          DOUBLEP_INFO(path, "str") DOUBLEP_INFO(name,
                                                 "str: the file's or folder's name without suffix.")
              DOUBLEP_INFO(model, "str: which model, for people.") DOUBLEP_INFO(
                  task, "str: which task, for people.")
                  DOUBLEP_INFO(num_query_heads, "int: heads of a layer.") DOUBLEP_INFO(
                      num_kv_heads, "int: query head h reads h / (num_query_heads / num_kv_heads).")
                      DOUBLEP_INFO(head_dim, "int: of keys and queries.") DOUBLEP_INFO(
                          value_dim, "int: of values and outputs.")
                          DOUBLEP_INFO(num_tokens, "int: keys per KV head.") DOUBLEP_INFO(
                              softmax_scale, "float: multiplies every dot product.")
                              DOUBLEP_INFO(seed, "int: of whatever made the prompt.") DOUBLEP_INFO(
                                  layers, "list[int]: indices in the model, ascending.")
                                  DOUBLEP_INFO(other_attention,
                                               "dict[int, str]: layers that cannot be read, whose "
                                               "attention is not plain softmax.")
#undef DOUBLEP_INFO
      .def_prop_ro(
          "num_steps", [](const Trace& trace) { return trace.info().num_steps(); },
          "int: recorded decode steps, T.")
      .def_prop_ro(
          "positions",
          [](const Trace& trace) {
            return array_out(std::vector(trace.info().positions),
                             {static_cast<std::size_t>(trace.info().num_steps())});
          },
          "int64 [T]: step t sees the keys 0 .. positions[t].")
      .def_prop_ro(
          "content_hash", [](const Trace& trace) { return trace.content_hash(); },
          "str: 16 hex digits over all bytes that are read.")
      .def("__repr__", [](const Trace& trace) {
        const TraceInfo& info = trace.info();
        return concat("doublep.Trace('", info.path, "': ", info.num_tokens, " tokens, ",
                      info.num_steps(), " steps, ", info.layers.size(), " layers)");
      });
}

}  // namespace doublep::python
