// Prints energies and gradients of a small model in both precisions, for comparing builds by other compilers
// or for other processors.
#include <cstdio>

#include "specification.h"

int main() {
  for (const int bits : {32, 64}) {
    Random random(3);
    Specification made(bits == 32 ? 6 : 11, 3, 3);
    made.fill(random);
    nequix_model* model = nullptr;
    const char* message = nequix_create(&made.spec, bits, nullptr, &model);
    std::vector<double> energies, gradient;
    const Graph graph(12, random);
    if (!message) message = graph.evaluate(model, energies, gradient, 2);
    if (message) {
      std::fprintf(stderr, "%s\n", message);
      return 1;
    }
    for (const double value : energies) std::printf("%d %.17g\n", bits, value);
    for (const double value : gradient) std::printf("%d %.17g\n", bits, value);
    nequix_destroy(model);
  }
}
