// Says which GPU the backend would use; exit code 2 and one line where there is none.
#include <iostream>

#include "cuda/decoder/factory.h"

int main() {
  if (const std::string problem = doublep::cuda::device_problem(); !problem.empty()) {
    std::cerr << "doublep_device: " << problem << "\n";
    return 2;
  }
  std::cout << doublep::cuda::device_description() << "\n";
}
