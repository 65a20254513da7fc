// Every seed of every fuzzer through every reader, and a hundred edits or cuts of each: read,
// or refused in one line. The fuzzers themselves go on from here (tests/fuzz/run.sh).
#include "core/base/random.h"
#include "tests/catch.h"
#include "tests/fuzz/readers.h"

using namespace doublep;
using namespace doublep::test;

namespace {

constexpr int kChanges = 100;

Bytes base_of(const Reader& r) { return r.suffix == ".h5" ? sound_seeds(r.name)[0].bytes : ""; }

std::uint64_t draw(std::uint64_t i, std::uint64_t j) { return CounterRng(7, 0, 0, i).bits(j); }

}  // namespace

TEST_CASE("The seeds of each fuzzer are sound") {
  for (const Reader& r : readers()) {
    const std::vector<Seed> seeds = sound_seeds(r.name);
    REQUIRE(!seeds.empty());
    for (const Seed& seed : seeds) {
      INFO(r.name << ": " << seed.name);
      CHECK(refusal(r, seed.bytes, base_of(r)).value_or("") == "");
    }
  }
}

TEST_CASE("A seed of another kind of file is refused in one line") {
  for (const Reader& r : readers())
    for (const Reader& other : readers()) {
      if (other.name == r.name) continue;
      for (const Seed& seed : sound_seeds(other.name)) {
        if (r.suffix == ".h5" && other.suffix != ".h5") continue;  // would be taken for edits
        INFO(other.name << " " << seed.name << " read as " << r.name);
        CHECK(is_one_plain_line(refusal(r, seed.bytes, base_of(r)).value_or("\n")));
      }
    }
}

TEST_CASE("Edits of sound HDF5 files are read, or refused in one line") {
  for (const Reader& r : readers()) {
    if (r.suffix != ".h5") continue;
    const Bytes base = base_of(r);
    int refused = 0;
    for (std::uint64_t i = 0; i < kChanges; ++i) {
      Bytes program;
      for (std::uint64_t j = 0; j < 12; ++j) program += static_cast<char>(draw(i, j) & 255);
      INFO(r.name << ": program " << i);
      if (const auto message = refusal(r, program, base)) {
        ++refused;
        CHECK(is_one_plain_line(*message));
      }
    }
    CHECK(refused > kChanges / 4);  // the edits arrive
  }
}

TEST_CASE("Cut and spoiled text is read, or refused in one line") {
  for (const Reader& r : readers()) {
    if (r.suffix == ".h5") continue;
    int refused = 0;
    for (const Seed& seed : sound_seeds(r.name))
      for (std::uint64_t i = 0; i < kChanges; ++i) {
        Bytes text = seed.bytes;
        const std::size_t at = draw(i, 0) % text.size();
        if (i % 3 == 0) text.resize(at);
        if (i % 3 == 1) text[at] = static_cast<char>(draw(i, 1) & 255);
        if (i % 3 == 2) text.insert(at, text.substr(draw(i, 1) % text.size(), draw(i, 2) % 40));
        INFO(r.name << " " << seed.name << ": change " << i);
        if (const auto message = refusal(r, text, "")) {
          ++refused;
          CHECK(is_one_plain_line(*message));
        }
      }
    CHECK(refused > kChanges / 4);
  }
}
