// What of an HDF5 file may be read: only what the file itself holds. Everything here looks at
// metadata alone.
#include <algorithm>

#include "core/base/error.h"
#include "core/trace/hdf5/h5.h"

namespace doublep::h5 {
namespace {

// Of a chunk in memory: HDF5 unpacks whole chunks, whatever part is asked for.
constexpr double kMaxChunk = 32 << 20;
// Recorded activations compress to a half at best. Below a megabyte nothing can go wrong.
constexpr double kMaxRatio = 64, kSmall = 1 << 20;
constexpr int kMaxSoftLinks = 16;

std::string file_of(hid_t object) {
  char name[4096] = "";
  return H5Fget_name(object, name, sizeof name) > 0 ? name : "the file";
}

std::string target_of(hid_t parent, const std::string& link, std::size_t size) {
  if (size > kMaxAttribute) fail_input(file_of(parent), ": ", link, ": a link of ", size, " bytes");
  std::string target(size + 1, '\0');
  if (H5Lget_val(parent, link.c_str(), target.data(), target.size(), H5P_DEFAULT) < 0) return "";
  return target.c_str();
}

// Every link of the way is looked at before anything is opened through it: opening what lies behind
// an external link would open the other file, or wait for it if that is a FIFO.
bool leads_inside(hid_t parent, const std::string& name, int soft_links) {
  if (soft_links > kMaxSoftLinks)
    fail_input(file_of(parent), ": ", name,
               ": its soft links lead in a circle; write the data there");
  for (std::size_t slash = name.find('/', 1);; slash = name.find('/', slash + 1)) {
    const std::string way = name.substr(0, slash);
    H5L_info_t link = {};
    const htri_t there = H5Lexists(parent, way.c_str(), H5P_DEFAULT);
    if (there == 0) return false;
    if (there < 0 || H5Lget_info(parent, way.c_str(), &link, H5P_DEFAULT) < 0) {
      require_memory();
      return false;
    }
    if (link.type == H5L_TYPE_SOFT) {
      std::string target = target_of(parent, way, link.u.val_size);
      const std::size_t folder = way.rfind('/');
      if (target.rfind('/', 0) != 0 && folder != std::string::npos)
        target.insert(0, way, 0, folder + 1);
      if (target.empty() || !leads_inside(parent, target, soft_links + 1)) return false;
    } else if (link.type != H5L_TYPE_HARD) {
      fail_input(file_of(parent), ": ", way,
                 " is a link into another file; a file is read only if it holds all of its data "
                 "itself: copy them in (h5copy), or record it again");
    }
    if (slash == std::string::npos) return true;
  }
}

double product(const std::vector<std::int64_t>& extent) {
  double n = 1;  // a damaged header's product overflows integers
  for (std::int64_t e : extent) n *= static_cast<double>(e);
  return n;
}

void require_filters(hid_t plist, const std::string& place) {
  for (int i = 0; i < H5Pget_nfilters(plist); ++i) {
    char name[64] = "";
    unsigned flags = 0, config = 0;
    std::size_t parameters = 0;
    const H5Z_filter_t id = H5Pget_filter2(plist, static_cast<unsigned>(i), &flags, &parameters,
                                           nullptr, sizeof name, name, &config);
    if (id >= 0 && H5Zfilter_avail(id) > 0) continue;
    fail_input(place, ": is compressed with the filter ", *name ? name : "?", " (number ", id,
               "), which this HDF5 does not have; install its plugin and set HDF5_PLUGIN_PATH, or "
               "rewrite the file with h5repack -f NONE where the plugin is");
  }
}

void require_chunks(hid_t dataset, hid_t plist, const std::vector<std::int64_t>& extent,
                    double element, double stored, const std::string& place) {
  std::vector<hsize_t> chunk(extent.size());
  if (H5Pget_chunk(plist, static_cast<int>(chunk.size()), chunk.data()) !=
      static_cast<int>(chunk.size()))
    fail_input(place, ": its chunks cannot be read; the file is damaged, record it again");
  double bytes = element, expected = 1;
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    bytes *= static_cast<double>(chunk[i]);
    const std::int64_t chunks = (extent[i] - 1) / static_cast<std::int64_t>(chunk[i]) + 1;
    expected *= static_cast<double>(chunks);
  }
  if (bytes > kMaxChunk)
    fail_input(place, ": has chunks of ", bytes / (1 << 20), " MiB, expected at most ",
               kMaxChunk / (1 << 20), "; rewrite it with smaller ones (h5repack -l)");
  const Handle space(H5Dget_space(dataset), H5Sclose);
  hsize_t written = 0;
  if (H5Dget_num_chunks(dataset, space.get(), &written) < 0)
    fail_input(place, ": its chunks cannot be counted; the file is damaged, record it again");
  if (static_cast<double>(written) < expected)
    fail_input(place, ": ", written, " of its ", expected,
               " chunks were written; HDF5 would make up the rest, record it whole");
  const double declared = product(extent) * element;
  // A filter may lengthen what it cannot shorten, by little.
  if (stored > 2 * declared + 4096 * expected)
    fail_input(place, ": stores ", stored, " bytes for the ", declared,
               " that it declares; the file is damaged, record it again");
  if (declared > kSmall && declared > kMaxRatio * stored)
    fail_input(place, ": declares ", declared, " bytes, but stores ", stored,
               "; no recorded data compress like that, record it again");
}

void require_own_storage(hid_t plist, const std::string& place, const std::string& remedy) {
  const auto refuse = [&](const char* what) {
    fail_input(place, what, "; a file is read only if it holds all of its data itself: ", remedy);
  };
  if (H5Pget_layout(plist) == H5D_VIRTUAL)
    refuse(": is a virtual dataset, whose values lie elsewhere");
  if (H5Pget_external_count(plist) > 0) refuse(": has external storage, in other files");
}

// Are all values there, and of the size that the dataset declares?
void require_written(hid_t dataset, hid_t plist, const std::string& place) {
  const H5D_layout_t layout = H5Pget_layout(plist);
  const auto refuse = [&](const auto&... why) { fail_input(place, ": ", why...); };
  require_filters(plist, place);
  const std::vector<std::int64_t> extent = shape(dataset);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  const double element = static_cast<double>(H5Tget_size(type.get()));
  const double declared = product(extent) * element;
  const double stored = static_cast<double>(H5Dget_storage_size(dataset));
  hsize_t end_of_file = 0;
  const Handle file(H5Iget_file_id(dataset), H5Fclose);
  H5Fget_filesize(file.get(), &end_of_file);
  if (stored > static_cast<double>(end_of_file))
    refuse("claims ", stored, " bytes of a file of ", end_of_file,
           "; it is truncated or damaged, record it again");
  if (declared == 0 || layout == H5D_COMPACT) return;
  if (layout == H5D_CHUNKED) return require_chunks(dataset, plist, extent, element, stored, place);
  if (layout != H5D_CONTIGUOUS || H5Dget_offset(dataset) == HADDR_UNDEF || stored < declared)
    refuse("was never written, or not whole: ", stored, " of ", declared,
           " bytes are there; HDF5 would make up the rest, record it whole");
}

}  // namespace

bool exists(hid_t parent, const std::string& name) { return leads_inside(parent, name, 0); }

bool filtered(hid_t dataset) {
  const Handle plist(H5Dget_create_plist(dataset), H5Pclose);
  return H5Pget_nfilters(plist.get()) > 0;
}

Handle open_own_dataset(hid_t parent, const std::string& name, const std::string& place,
                        const std::string& expected, const std::string& remedy) {
  if (!exists(parent, name)) fail_input(place, " is missing; expected ", expected);
  Handle dataset(H5Dopen2(parent, name.c_str(), H5P_DEFAULT), H5Dclose);
  const Handle plist(dataset ? H5Dget_create_plist(dataset.get()) : -1, H5Pclose);
  if (!plist) {
    require_memory();
    fail_input(place, " is no dataset; expected ", expected);
  }
  require_own_storage(plist.get(), place, remedy);
  return dataset;
}

Handle open_dataset(hid_t parent, const std::string& name, const std::string& place,
                    const std::string& expected, const std::function<void(hid_t)>& check) {
  Handle dataset =
      open_own_dataset(parent, name, place, expected, "copy them in (h5repack -l CONTI)");
  const Handle plist(H5Dget_create_plist(dataset.get()), H5Pclose);
  if (check) check(dataset.get());
  require_written(dataset.get(), plist.get(), place);
  return dataset;
}

}  // namespace doublep::h5
