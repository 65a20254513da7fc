// Do hashes tell contents apart, and only contents?
#include "core/base/hash.h"

#include <cstdio>
#include <fstream>
#include <set>

#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("a hash is a function of the bytes") {
  CHECK(Hasher().add("abc").hex() == Hasher().add("abc").hex());
  CHECK(Hasher().add("abc").hex().size() == 16);
  CHECK(Hasher().add("abc").hex().find_first_not_of("0123456789abcdef") == std::string::npos);
}

TEST_CASE("every single changed, added or dropped byte changes the hash") {
  const std::string text(97, 'x');
  std::set<std::string> seen = {Hasher().add(text).hex()};
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = 'y';
    CHECK(seen.insert(Hasher().add(changed).hex()).second);
    CHECK(seen.insert(Hasher().add(text.substr(0, i)).hex()).second);
  }
  // Zeros at the end are not padding.
  CHECK(Hasher().add(std::string(3, '\0')).hex() != Hasher().add(std::string(4, '\0')).hex());
  CHECK(Hasher().hex() != Hasher().add(std::string(1, '\0')).hex());
}

TEST_CASE("swapping two words changes the hash") {
  CHECK(Hasher().add("AAAAAAAABBBBBBBB").hex() != Hasher().add("BBBBBBBBAAAAAAAA").hex());
}

TEST_CASE("one flipped bit moves about half of the hash's bits") {
  double moved = 0;
  const std::string zero(16, '\0');
  const std::uint64_t base = Hasher().add(zero).value();
  for (int bit = 0; bit < 128; ++bit) {
    std::string flipped = zero;
    flipped[bit / 8] = static_cast<char>(1 << (bit % 8));
    moved += __builtin_popcountll(base ^ Hasher().add(flipped).value());
  }
  CHECK(moved / 128 == Approx(32).margin(3));
}

TEST_CASE("a file's hash is that of its bytes, over any number of reads") {
  const TempDir dir;
  const std::string path = dir.file("bytes");
  std::string bytes((1 << 20) + 5, 'q');  // more than one buffer
  bytes[1 << 20] = 'z';
  std::ofstream(path, std::ios::binary) << bytes;
  CHECK(hash_file(path) == Hasher().add(bytes).hex());
  CHECK(contains(message_of([&] { hash_file(dir.file("none")); }), dir.file("none")));
  CHECK(contains(message_of([&] { hash_file(dir.path()); }), dir.path()));  // a folder
}

// FIPS 180-4's examples.
TEST_CASE("SHA-256 of the standard's examples") {
  CHECK(Sha256().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(Sha256().add("abc").hex() ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(Sha256().add("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex() ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(Sha256().add(std::string(1000000, 'a')).hex() ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("a SHA-256 does not depend on where the bytes were cut") {
  const std::string text(1000, 'x');
  for (std::size_t cut : {0, 1, 55, 56, 63, 64, 65, 500})
    CHECK(Sha256().add(text.substr(0, cut)).add(text.substr(cut)).hex() ==
          Sha256().add(text).hex());
}
