// libFuzzer's door to one reader, which DOUBLEP_FUZZ_READER names. Anything but a sound file or an
// InputError of one plain line is a finding.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/readers.h"

using namespace doublep::test;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Reader& reader = doublep::test::reader(DOUBLEP_FUZZ_READER);
  static const Bytes base = reader.suffix == ".h5" ? sound_seeds(reader.name)[0].bytes : "";
  const Bytes input(reinterpret_cast<const char*>(data), size);
  const auto message = refusal(reader, input, base);
  if (message && !is_one_plain_line(*message)) {
    std::fprintf(stderr, "not one plain line: %s\n", message->c_str());
    std::abort();
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t limit);

// Bytes of an HDF5 file change behind its superblock, which would only be refused; all other inputs
// change anywhere.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t limit, unsigned) {
  constexpr std::size_t kSuperblock = 96;
  const bool file = size > kSuperblock && data[0] == 0x89 && data[1] == 'H';
  const std::size_t kept = file ? kSuperblock : 0;
  return kept + LLVMFuzzerMutate(data + kept, size - kept, limit - kept);
}
