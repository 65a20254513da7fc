#include "experiments/results/image.h"

#include "core/base/error.h"
#include "core/base/output.h"

namespace doublep {

FileImage::FileImage() {
  h5::quiet();
  const h5::Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), 1 << 20, 0);  // no backing store: memory only
  // The format of HDF5 1.8: a checksum on nearly all of its structures.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
  file_ =
      h5::Handle(H5Fcreate("doublep-image", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
  DP_ASSERT(static_cast<bool>(file_), "an HDF5 file in memory");
}

void FileImage::save(const std::string& path) {
  // H5Fget_file_image() would clear a flag in the header and leave the header's checksum as it was.
  const h5::Handle access(H5Fget_access_plist(root()), H5Pclose);
  void* memory = nullptr;
  const ssize_t size =
      H5Fflush(root(), H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(root(), nullptr, 0);
  DP_ASSERT(size > 0 && H5Fget_vfd_handle(root(), access.get(), &memory) >= 0 && memory,
            "the image of an HDF5 file");
  write_output(path, {*static_cast<char**>(memory), static_cast<std::size_t>(size)});
}

}  // namespace doublep
