// Which backends this program was built with, and the way to a decoder on them.
#pragma once

#include <memory>
#include <string>

#include "core/decoder/decoder.h"
#include "core/policy/registry.h"

namespace doublep {

/// A backend other than the CPU reference. `refusal` is empty where it can serve the policy, and
/// else one line that lists what is required, supported and missing.
struct Backend {
  std::string name;
  std::string (*refusal)(const PolicyInfo&, const Parameters&);
  std::unique_ptr<Decoder> (*make)(const PolicyInfo&, const Parameters&, const PolicyContext&);
};

/// The CUDA backend, or null in a program built without it.
const Backend* cuda_backend();

}  // namespace doublep
