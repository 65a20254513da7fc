// The module doublep._core: errors, the registry, threads, and the parts that bindings.h names.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/policy/registry.h"
#include "experiments/python/bindings.h"
#include "experiments/python/convert.h"
#include "experiments/run/runner.h"

namespace doublep::python {
namespace {

nb::dict describe(const ParamSpec& spec) {
  nb::dict out;
  out["type"] = spec.type_name();
  out["default"] = spec.fallback ? to_python(*spec.fallback) : nb::none();
  out["range"] = spec.range_text();
  out["meaning"] = spec.meaning;
  return out;
}

nb::dict describe(const PolicyInfo& policy) {
  nb::dict parameters, variants, out;
  for (const ParamSpec& spec : policy.parameters) parameters[spec.name.c_str()] = describe(spec);
  for (const PolicyVariant& variant : policy.variants) {
    nb::dict values, one;
    for (const auto& [name, value] : variant.values) values[name.c_str()] = to_python(value);
    one["meaning"] = variant.meaning, one["parameters"] = values;
    variants[variant.name.c_str()] = one;
  }
  out["meaning"] = policy.meaning, out["source"] = policy.source;
  out["parameters"] = parameters, out["variants"] = variants;
  return out;
}

nb::dict policies() {
  nb::dict all;
  for (const PolicyInfo& policy : PolicyRegistry::instance().all())
    all[policy.name.c_str()] = describe(policy);
  return all;
}

void choose_threads(int threads) {
  if (threads < 0 || threads > kMaxThreads)
    fail_input("set_num_threads: expected 0 to ", kMaxThreads, ", not ", threads);
  if (WithoutLock::working() > 0)
    fail_input("set_num_threads: another thread is at work; call it before");
  set_num_threads(threads);
}

void bind_errors(nb::module_& m) {
  static PyObject* const input_error = PyErr_NewExceptionWithDoc(
      "doublep.InputError",
      "Bad input: one line that says where, what was expected and what to do, as of the program.",
      PyExc_ValueError, nullptr);
  m.attr("InputError") = nb::handle(input_error);
  nb::register_exception_translator([](const std::exception_ptr& error, void*) {
    const auto raise = [](const std::string& line) {
      PyErr_SetString(input_error, printable(line).c_str());
    };
    try {
      std::rethrow_exception(error);
    } catch (const InputError& e) {
      raise(e.what());
    } catch (const std::filesystem::filesystem_error& e) {  // a path that the system cannot take
      raise(concat(e.path1().string(), ": ", e.code().message(), "; check the path"));
    }
  });
}

}  // namespace

void bind_registry(nb::module_& m) {
  m.def("policies", policies,
        "Every policy by name: {\"meaning\", \"source\", \"parameters\", \"variants\"}.\n\n"
        "parameters: {name: {\"type\", \"default\" (None: required), \"range\", \"meaning\"}}. A "
        "budget\n"
        "is a share as float and a number as int. variants: {name: {\"meaning\", \"parameters\"}}, "
        "sets\n"
        "of parameters that variant=name stands for.");
  m.def("set_num_threads", choose_threads, nb::arg("threads"),
        "Threads that a call spreads its work over, up to 4096; 0: one a core, as at the start. No "
        "result\n"
        "depends on it. Refused while another thread of Python is in a call.");
  m.def("num_threads", num_threads, "How many they are.");
  m.def("has_cuda", &has_cuda, "Was this package built with the CUDA backend?");
}

}  // namespace doublep::python

NB_MODULE(_core, m) {
  using namespace doublep::python;
  // NumPy takes nothing back that it lent by DLPack once the interpreter ends: no leak of ours.
  nb::set_leak_warnings(false);
  nb::list stages;
  for (const std::string_view stage : doublep::kStageNames) stages.append(nb::str(stage.data()));
  m.attr("STAGES") = nb::tuple(stages);
  m.attr("__version__") = DOUBLEP_VERSION;
  bind_errors(m);
  bind_registry(m);
  bind_decoder(m);
  bind_trace(m);
  bind_replay(m);
  // The pool's threads stay behind where a process forks (multiprocessing, os.fork).
  nb::dict hooks;
  hooks["after_in_child"] = nb::cpp_function([] { doublep::renew_threads(); });
  nb::module_::import_("os").attr("register_at_fork")(**hooks);
}
