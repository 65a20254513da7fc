// The readers of files that come from strangers, one door each, for fuzzers and for the suite.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace doublep::test {

using Bytes = std::string;

struct Reader {
  std::string name;    ///< trace, sweep, result, baseline, profile or measured
  std::string suffix;  ///< of the files that it reads
  void (*read)(const std::string& path);
};
const std::vector<Reader>& readers();
/// Throws std::out_of_range.
const Reader& reader(const std::string& name);

/// Nothing where the bytes were read as a sound file, else what the reader says against them.
/// Anything but an InputError passes through. HDF5 readers take files and programs of edits
/// (hdf5_edits.h); bytes that are no HDF5 file are a program, run on `base`.
std::optional<std::string> refusal(const Reader& reader, const Bytes& input, const Bytes& base);

/// Bytes that terminals print as one line.
bool is_one_plain_line(const std::string& message);

struct Seed {
  std::string name;
  Bytes bytes;
};
/// Sound files, as this build writes them and as tests/fuzz/seeds/<reader> holds them. The first
/// one of an HDF5 reader is the base of its edits.
std::vector<Seed> sound_seeds(const std::string& reader);

}  // namespace doublep::test
