// Energy and forces from C++, without Python at run time:
//
//   nequix lammps export nequix-nano nano.lammps
//   g++ -std=c++17 -Inequix/native/src examples/native/host.cpp nequix/native/libnequix.so -o host
//   LD_LIBRARY_PATH=nequix/native ./host nano.lammps
//
// The structure is rock salt MgO, 8 atoms in a periodic cube, one of them displaced. Neighbours are found by
// testing all images; a real program has a neighbour list of its own.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include "nequix.h"

static bool failed(const char* message) {
  if (message) std::fprintf(stderr, "%s\n", message);
  return message != nullptr;
}

int main(int argc, char** argv) {
  std::ifstream file(argc > 1 ? argv[1] : "nano.lammps", std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  nequix_description about;
  nequix_model* model;
  if (failed(nequix_describe(bytes.data(), bytes.size(), &about))) return 1;
  if (failed(nequix_open(bytes.data(), bytes.size(), 64, nullptr, &model))) return 1;
  std::printf("model %s, cutoff %g A, instructions %s\n", about.name, about.cutoff,
              nequix_instructions(model));

  const double side = 4.2;
  const int numbers[] = {12, 12, 12, 12, 8, 8, 8, 8};
  double x[8][3] = {{0.1, 0, 0}, {0, .5, .5}, {.5, 0, .5}, {.5, .5, 0},
                    {.5, 0, 0},  {0, .5, 0},  {0, 0, .5},  {.5, .5, .5}};
  std::vector<int32_t> species, senders, receivers, graphs(8, 0);
  std::vector<double> vectors;
  for (int i = 0; i < 8; i++) {
    species.push_back(0);  // the place of its element among those of the model
    while (about.atomic_numbers[species[i]] != numbers[i]) species[i]++;
    for (int j = 0; j < 8; j++)
      for (int image = 0; image < 343; image++) {
        const int shift[] = {image % 7 - 3, image / 7 % 7 - 3, image / 49 - 3};
        double r[3], square = 0;
        for (int c = 0; c < 3; c++) r[c] = side * (x[j][c] - x[i][c] + shift[c]);
        for (int c = 0; c < 3; c++) square += r[c] * r[c];
        if (square == 0 || square >= about.cutoff * about.cutoff) continue;
        vectors.insert(vectors.end(), r, r + 3);
        senders.push_back(j);
        receivers.push_back(i);  // ascending
      }
  }
  const auto n_edges = static_cast<int64_t>(senders.size());
  std::vector<double> energies(8), gradient(vectors.size()), forces(24), virial(9);
  if (failed(nequix_evaluate(model, 8, n_edges, vectors.data(), senders.data(), receivers.data(),
                             species.data(), nullptr, energies.data(), gradient.data(), 1)) ||
      failed(nequix_forces(8, n_edges, 1, vectors.data(), senders.data(), receivers.data(), graphs.data(),
                           gradient.data(), forces.data(), virial.data())))
    return 1;
  for (int i = 0; i < 8; i++)
    std::printf("%2d  %.10f eV  %.10f %.10f %.10f eV/A\n", numbers[i], energies[i], forces[3 * i],
                forces[3 * i + 1], forces[3 * i + 2]);
  nequix_destroy(model);
}
