#include "experiments/shards/merge.h"

#include <algorithm>
#include <map>

#include "core/base/error.h"
#include "core/base/output.h"
#include "experiments/results/image.h"
#include "experiments/results/result_reader.h"
#include "experiments/results/result_store.h"

namespace doublep {
namespace {

struct Part {
  std::string path;
  h5::Handle file;
  Attributes root;
  Shard shard;
};

Part open_part(const std::string& path) {
  Part part{path, open_result(path), {}, {}};
  part.root = read_attributes(part.file.get(), path);
  const auto shard = shard_of(part.root, path);
  if (!shard) fail_input(path, ": is the whole of a sweep, not a shard; `run --shard` makes those");
  part.shard = *shard;
  return part;
}

std::vector<std::string> keys_of(const Part& part) {
  return h5::children(h5::open_group(part.file.get(), "runs", part.path).get());
}

// Ascending by shard. What the roots alone tell: one sweep, cut once, no shard twice.
std::vector<Part> open_parts(const std::vector<std::string>& files) {
  std::vector<Part> parts;
  for (const std::string& file : files) {
    parts.push_back(open_part(file));
    const Part &first = parts.front(), &part = parts.back();
    if (text_of(part.root, "config_hash", file) != text_of(first.root, "config_hash", first.path))
      fail_input(file, ": is of another sweep than ", first.path,
                 " (settings, policies or traces differ); merge shards of one configuration");
    if (part.shard.count != first.shard.count)
      fail_input(file, ": is shard ", part.shard.text(), ", but ", first.path, " is ",
                 first.shard.text(), "; merge shards of one number");
    for (const Part& other : parts)
      if (&other != &part && other.shard == part.shard)
        fail_input(file, ": is shard ", part.shard.text(), ", and so is ", other.path,
                   "; give each shard once");
  }
  std::sort(parts.begin(), parts.end(),
            [](const Part& a, const Part& b) { return a.shard.index < b.shard.index; });
  return parts;
}

// What the sweep's run of this place is, in words.
std::string describe(const Part& part, std::size_t place) {
  const auto listed = listed_runs(text_of(part.root, "config", part.path));
  const std::size_t trace = place / listed.size();
  const std::string group = concat("traces/", trace);
  const h5::Handle opened = h5::open_group(part.file.get(), group, part.path);
  return concat(listed[place % listed.size()], " on ",
                h5::read_string(opened.get(), "name", part.path).value_or(group));
}

std::size_t runs_of_sweep(const Part& part) {
  const h5::Handle traces = h5::open_group(part.file.get(), "traces", part.path);
  return listed_runs(text_of(part.root, "config", part.path)).size() *
         h5::children(traces.get()).size();
}

std::size_t first_missing(const std::vector<bool>& there) {
  return static_cast<std::size_t>(std::find(there.begin(), there.end(), false) - there.begin());
}

// Before anything is read that may be large.
void require_every_shard(const std::vector<Part>& parts) {
  std::vector<bool> there(runs_of_sweep(parts.front()));
  const std::size_t all = there.size();
  std::size_t present = 0;
  for (const Part& part : parts) {
    const h5::Handle runs = h5::open_group(part.file.get(), "runs", part.path);
    for (const std::string& key : keys_of(part)) {
      const std::string place = concat(part.path, ": run ", printable(key));
      const h5::Handle run = h5::open_group(runs.get(), key, place);
      const auto order =
          static_cast<std::size_t>(h5::read_int(run.get(), "order", place).value_or(-1));
      if (order < all) present += !there[order], there[order] = true;
    }
  }
  const int count = parts.front().shard.count;
  std::string missing;
  int gaps = 0;
  for (int index = 1, next = 0; index <= count; ++index) {
    if (next < static_cast<int>(parts.size()) && parts[next].shard.index == index) {
      ++next;
      continue;
    }
    constexpr int kNamed = 8;
    if (++gaps <= kNamed) missing += (gaps > 1 ? ", " : "") + Shard{index, count}.text();
    if (gaps == kNamed + 1) missing += ", ...";
  }
  if (gaps == 0) return;
  const std::size_t first = first_missing(there);
  fail_input(gaps == 1 ? "shard " : concat(gaps, " shards "), missing,
             gaps == 1 ? " is missing" : " are missing", ", with ", all - present, " of ", all,
             " runs, the first ", first < all ? describe(parts.front(), first) : "unknown",
             "; `doublep run CONFIG --shard i/", count, "` makes one");
}

class Merger {
 public:
  Merger(const std::vector<Part>& parts, const std::string& output, bool any_program)
      : parts_(parts), output_(output), any_program_(any_program) {}

  std::size_t run() {
    const h5::Handle runs = h5::create_group(image_.root(), "runs", output_);
    for (const Part& part : parts_) {
      take_runs(part, runs.get());
      check_root(part.file.get(), part.root, part.path);
    }
    const std::size_t all = there_.size(), gap = first_missing(there_);
    if (gap < all)
      fail_input(parts_.front().path, ": and the other shards have no run ",
                 describe(parts_.front(), gap), "; run the shards again, by one build");
    write_root();
    image_.save(output_);
    return all;
  }

 private:
  void take_runs(const Part& part, hid_t to) {
    const h5::Handle runs = h5::open_group(part.file.get(), "runs", part.path);
    for (const std::string& key : keys_of(part)) {
      const RunContent run = read_run(runs.get(), key, part.path);
      const std::string place = concat(part.path, ": run ", printable(key));
      const std::string& program = text_of(run.attributes, "program_hash", place);
      if (program_.empty()) program_ = program;
      if (program != program_ && !any_program_)
        fail_input(place, ": was computed by another build of the program than ",
                   parts_.front().path, "; run the shards again by one, or say --any-program");
      const auto order = static_cast<std::size_t>(integer_of(run.attributes, "order", place));
      if (order >= there_.size())
        fail_input(place, ": is run ", order, " of ", there_.size(), "; run the shard again");
      const auto [other, is_new] = from_.emplace(key, part.path);
      if (!is_new || there_[order])
        fail_input(place, ": stands in ", is_new ? "another shard" : other->second,
                   " too; run the shards again, by one build");
      there_[order] = true;
      write_run(to, key, run, output_);
    }
  }

  void write_root() {
    const Part& first = parts_.front();
    const h5::Handle groups = h5::create_group(image_.root(), "traces", output_);
    const h5::Handle traces = h5::open_group(first.file.get(), "traces", first.path);
    for (const std::string& name : h5::children(traces.get()))
      write_attributes(h5::create_group(groups.get(), name, output_).get(),
                       read_attributes(h5::open_group(traces.get(), name, first.path).get(),
                                       concat(first.path, ": traces/", printable(name))));
    Attributes root = first.root;
    set_shard(root, std::nullopt);
    root.erase(kContentHash);
    root["created"] = utc_now();
    write_attributes(image_.root(), root);
    h5::write_string(image_.root(), kContentHash, root_hash(image_.root(), output_));
  }

  const std::vector<Part>& parts_;
  const std::string output_;
  const bool any_program_;
  FileImage image_;
  std::string program_;                      // of the first run
  std::map<std::string, std::string> from_;  // of each run's key the file
  std::vector<bool> there_ = std::vector<bool>(runs_of_sweep(parts_.front()));  // by place
};

}  // namespace

std::size_t merge_shards(const std::vector<std::string>& files, const std::string& output,
                         bool any_program) {
  check_output(output, OutputForm::kFile, files);
  const std::vector<Part> parts = open_parts(files);
  require_every_shard(parts);
  make_folder_of(output);
  return Merger(parts, output, any_program).run();
}

}  // namespace doublep
