// Text of any length goes into a file and comes back.
#include "core/trace/hdf5/h5.h"

#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("string attributes of every length are read back as they were written") {
  const TempDir dir;
  const std::string path = dir.file("text.h5");
  const auto text = [](std::size_t n) {
    std::string s(n, 'x');
    for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>('a' + i % 26);
    return s;
  };
  const std::vector<std::size_t> lengths = {0, 1, 64500, 64600, 65536, 70000, 3000000};
  {
    const h5::Handle file = h5::create_file(path);
    for (std::size_t n : lengths) {
      const h5::Handle group = h5::create_group(file.get(), std::to_string(n), path);
      h5::write_string(group.get(), "config", text(n));
    }
  }
  const h5::Handle file = h5::open_file(path);
  for (std::size_t n : lengths) {
    const h5::Handle group = h5::open_group(file.get(), std::to_string(n), path);
    CHECK(h5::read_string(group.get(), "config", path) == text(n));
  }
}
