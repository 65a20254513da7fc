// Sinks and window: a work list that follows from the zones alone.
#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy streaming_on_device() { return {"streaming", supported_zone(), zone_plan}; }

}  // namespace doublep::cuda
