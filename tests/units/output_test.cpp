// Output goes where it was sent and nowhere else: aside and renamed, or through.
#include "core/base/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "tests/support/message.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

TEST_CASE("an output that is an input is refused under any of its names") {
  const TempDir folder;
  const std::string input = folder.file("t.h5");
  spill(input, "data");
  fs::create_symlink(input, folder.file("link.h5"));
  fs::create_hard_link(input, folder.file("hard.h5"));
  fs::create_directory_symlink(folder.path(), folder.file("here"));
  for (const std::string& name : {input, folder.file("link.h5"), folder.file("hard.h5"),
                                  folder.file("here/t.h5"), folder.file("./here/./t.h5")})
    for (const OutputForm form : {OutputForm::kStream, OutputForm::kFile}) {
      const std::string message = message_of([&] {
        check_output(name, form, {folder.file("other"), input});
      });
      CHECK(contains(message, name));
      CHECK(contains(message, "would destroy "));
    }
  check_output(folder.file("new.h5"), OutputForm::kFile, {input});
  CHECK(contains(message_of([&] {  // neither is there yet
                   check_output(folder.file("here/new.h5"), OutputForm::kFile,
                                {folder.file("new.h5")});
                 }),
                 "would destroy "));
  CHECK(slurp(input) == "data");
}

TEST_CASE("an input is safe from the file beside the output, too") {
  const TempDir folder;
  spill(folder.file("out.csv.partial"), "data");
  CHECK(contains(message_of([&] {
                   check_output(folder.file("out.csv"), OutputForm::kStream,
                                {folder.file("out.csv.partial")});
                 }),
                 "would destroy "));
}

TEST_CASE("a folder, a path through a file and a path too long are refused at once") {
  const TempDir folder;
  spill(folder.file("file"), "");
  for (const OutputForm form : {OutputForm::kStream, OutputForm::kFile}) {
    CHECK(contains(message_of([&] { check_output(folder.path(), form, {}); }), "is a folder"));
    CHECK(
        contains(message_of([&] { check_output(folder.file("new/"), form, {}); }), "is a folder"));
    CHECK(contains(message_of([&] { check_output(folder.file("file/x"), form, {}); }),
                   "Not a directory"));
    // 250 bytes are a name still, with ".partial" they are none.
    CHECK(contains(message_of([&] { check_output(folder.file(std::string(250, 'x')), form, {}); }),
                   "too long"));
  }
}

TEST_CASE("a symlink stays one, and its target gets the output") {
  const TempDir folder;
  fs::create_directory(folder.file("far"));
  fs::create_symlink("far/real.csv", folder.file("link.csv"));
  for (const std::string text : {"first", "second"}) {  // the target is missing, then there
    write_output(folder.file("link.csv"), text);
    CHECK(fs::is_symlink(folder.file("link.csv")));
    CHECK(slurp(folder.file("far/real.csv")) == text);
  }
  {
    OutputFile file(folder.file("link.csv"));
    spill(file.aside(), "third");
    CHECK(slurp(folder.file("link.csv")) == "second");
    file.commit();
  }
  CHECK(fs::is_symlink(folder.file("link.csv")));
  CHECK(slurp(folder.file("far/real.csv")) == "third");
  CHECK(std::distance(fs::directory_iterator(folder.file("far")), {}) == 1);
}

TEST_CASE("a FIFO and a device are written through and stay what they are") {
  const TempDir folder;
  const std::string fifo = folder.file("fifo");
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  std::string got;
  std::thread reader([&] { got = slurp(fifo); });
  write_output(fifo, "through");
  reader.join();
  CHECK(got == "through");
  CHECK(fs::is_fifo(fifo));
  fs::create_symlink("/dev/null", folder.file("null"));
  write_output(folder.file("null"), "gone");
  CHECK(fs::is_symlink(folder.file("null")));
  CHECK(fs::is_character_file("/dev/null"));
  CHECK(contains(message_of([&] { check_output(fifo, OutputForm::kFile, {}); }), "regular file"));
  CHECK(contains(message_of([] { check_output("-", OutputForm::kFile, {}); }), "regular file"));
  check_output("-", OutputForm::kStream, {});
}

TEST_CASE("a descriptor's own name writes at its place in the file") {
  const TempDir folder;
  spill(folder.file("log"), "");
  const int file = open(folder.file("log").c_str(), O_WRONLY | O_APPEND);
  REQUIRE(write(file, "before ", 7) == 7);
  write_output("/dev/fd/" + std::to_string(file), "after");
  close(file);
  CHECK(slurp(folder.file("log")) == "before after");
}

TEST_CASE("what is not committed leaves nothing, and the earlier file") {
  const TempDir folder;
  spill(folder.file("r.h5"), "earlier");
  {
    OutputFile file(folder.file("r.h5"));
    spill(file.aside(), "half");
  }
  CHECK(slurp(folder.file("r.h5")) == "earlier");
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
  const std::string far = folder.file("new/deep/r.csv");
  CHECK_THROWS_AS(write_output(far, "lost"), InputError);
  CHECK(contains(message_of([&] { check_output(far, OutputForm::kStream, {}); }), "its folder"));
  make_folder_of(far);
  check_output(far, OutputForm::kStream, {});
  write_output(far, "made");
  CHECK(slurp(far) == "made");
}
