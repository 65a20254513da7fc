// A trace's files that change while it is opened, at every point that matters, and in ways that
// their times do not tell.
#include <filesystem>
#include <fstream>

#include "core/trace/trace.h"
#include "tests/support/file_change.h"
#include "tests/support/message.h"
#include "tests/support/tensor_folder.h"
#include "tests/support/trace_file.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

constexpr const char* kNoLease = "this file system gives no leases";
constexpr const char* kSeen = "this file system dates what is written through a mapping";

}  // namespace

TEST_CASE("trace.yaml is read once: what it says and what is hashed are the same bytes") {
  const TensorFolder untouched(TensorFolder::kNpy);
  const std::string hash = Trace::open_folder(untouched.path()).content_hash();
  for (const std::int64_t most_held : {kMostHeld, std::int64_t{0}}) {
    CAPTURE(most_held);
    const TensorFolder folder(TensorFolder::kNpy);
    const UnseenChange description(folder.file("trace.yaml"));
    const WhenOpened tensors(folder.file("layer1.keys.npy"),
                             [&] { description.replace("toy", "tow"); });
    if (!tensors.possible()) return skip(kNoLease);
    const Trace trace = Trace::open_folder(folder.path(), most_held);
    REQUIRE(tensors.happened());
    if (!description.unseen()) return skip(kSeen);
    CHECK(trace.info().model == "toy");
    CHECK(trace.content_hash() == hash);
    CHECK(contains(message_of([&] { trace.require_unchanged(); }), "changed while"));
    CHECK(Trace::open_folder(folder.path()).content_hash() != hash);
  }
}

TEST_CASE("shapes that a header said before it changed are not those of the bytes that are held") {
  const TensorFolder npy(TensorFolder::kNpy);
  TensorFolder tensors(TensorFolder::kSafetensors);
  tensors.spill("more.safetensors", safetensors({{"other", tensor({1}, {1.0f})}}));
  for (const auto& [folder, first, later, from, to] :
       {std::tuple{&npy, "layer1.keys.npy", "layer10.values.npy", "(2, 20, 8, )", "(2, 8, 20, )"},
        {static_cast<const TensorFolder*>(&tensors), "all.safetensors", "more.safetensors",
         "[2,20,8]", "[2,8,20]"}}) {
    CAPTURE(first);
    const UnseenChange header(folder->file(first));
    const std::string before = from, after = to, path = folder->path();
    const WhenOpened last(folder->file(later), [&] { header.replace(before, after); });
    if (!last.possible()) return skip(kNoLease);
    const std::string message = message_of([&] { Trace::open_folder(path); });
    REQUIRE(last.happened());
    if (!header.unseen()) return skip(kSeen);
    CHECK(contains(message, folder->file(first)));
    CHECK(contains(message, "changed while it was read"));
  }
}

TEST_CASE("a folder's files of no concern may come, change and go while its trace is read") {
  const TensorFolder folder(TensorFolder::kNpy);
  const std::string other = folder.file("notes.npy"), gone = folder.file("gone.npy");
  folder.spill("notes.npy", "a"), folder.spill("gone.npy", "b");
  for (const std::int64_t most_held : {kMostHeld, std::int64_t{0}}) {
    folder.spill("gone.npy", "b");
    const WhenOpened tensors(folder.file("layer1.keys.npy"), [&] {
      folder.spill("notes.npy", "another"), folder.spill("new.npy", "c");
      fs::remove(gone);
    });
    if (!tensors.possible()) return skip(kNoLease);
    const Trace trace = Trace::open_folder(folder.path(), most_held);
    REQUIRE(tensors.happened());
    CHECK(trace.read_layer(10).keys == RandomCache({2, 2, 20, 8, 3}).keys);
    fs::remove(other);
    CHECK_NOTHROW(trace.require_unchanged());
    folder.spill("notes.npy", "a");
  }
  const WhenOpened tensors(folder.file("layer1.keys.npy"), [&] {
    std::ofstream(folder.file("layer1.values.npy"), std::ios::app) << "x";
  });
  CHECK(contains(message_of([&] { Trace::open_folder(folder.path()); }), "layer1.values.npy"));
  CHECK(tensors.happened());
}

TEST_CASE("times say nothing of a file that was written just now: its bytes are looked at again") {
  const TraceFile file;
  const TensorFolder folder(TensorFolder::kNpy);
  for (const auto& [path, changed] :
       {std::pair{file.path(), file.path()}, {folder.path(), folder.file("layer1.keys.npy")}}) {
    CAPTURE(path);
    const UnseenChange bytes(changed);
    const Trace trace = Trace::open(path);
    REQUIRE(trace.held_bytes() > 0);
    CHECK_NOTHROW(trace.require_unchanged());
    bytes.flip(static_cast<std::size_t>(FileStamp::of(changed).size) - 40);  // of some value
    if (!bytes.unseen()) return skip(kSeen);
    CHECK(contains(message_of([&] { trace.require_unchanged(); }), "changed while"));
  }
}
