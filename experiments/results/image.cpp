#include "experiments/results/image.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/base/error.h"

namespace doublep {

FileImage::FileImage() {
  h5::quiet();
  const h5::Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), 1 << 20, 0);  // no backing store: memory only
  file_ =
      h5::Handle(H5Fcreate("doublep-image", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
  DP_ASSERT(static_cast<bool>(file_), "an HDF5 file in memory");
}

void FileImage::save(const std::string& path) {
  H5Fflush(root(), H5F_SCOPE_GLOBAL);
  const ssize_t size = H5Fget_file_image(root(), nullptr, 0);
  std::vector<char> bytes(size > 0 ? size : 0);
  DP_ASSERT(size > 0 && H5Fget_file_image(root(), bytes.data(), bytes.size()) == size,
            "the image of an HDF5 file");
  write_file_atomically(path, bytes.data(), bytes.size());
}

void write_file_atomically(const std::string& path, const void* data, std::size_t bytes) {
  const std::string aside = path + ".partial";
  const auto fail = [&](const char* what) {
    const int error = errno;
    ::unlink(aside.c_str());
    fail_input(
        path, ": ", what, " failed: ", std::strerror(error),
        "; free some room or choose another output, and run again: earlier results are kept");
  };
  const int file = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) fail("creating the file");
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(file, p, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (n == 0) errno = ENOSPC;
      const int error = errno;
      ::close(file);
      errno = error;
      fail("writing");
    }
    p += n, bytes -= static_cast<std::size_t>(n);
  }
  const bool synced = ::fsync(file) == 0 || errno == EINVAL;
  if (::close(file) != 0 || !synced) fail("writing");
  if (std::rename(aside.c_str(), path.c_str()) != 0) fail("renaming");
}

}  // namespace doublep
