#include "core/base/sha256.h"

#include "tests/catch.h"

using doublep::Sha256;

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

TEST_CASE("the digest does not depend on where the bytes were cut") {
  const std::string text(1000, 'x');
  for (std::size_t cut : {0, 1, 55, 56, 63, 64, 65, 500})
    CHECK(Sha256().add(text.substr(0, cut)).add(text.substr(cut)).hex() ==
          Sha256().add(text).hex());
}
