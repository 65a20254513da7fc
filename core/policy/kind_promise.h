// A promise of error kept by heads that differ in kind: for each kind how far refinement has to go,
// learnt from the prompt's own queries, and the kind that keeps the promise for the fewest bytes.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/policy/error_promise.h"
#include "core/policy/kind_step.h"

namespace doublep {

/// Numbers of tokens that a stop tries, in turn: 0, then from kFirstRung on each by a quarter more
/// up to half of the `most` that there are, then all. What is looked at on the way is looked at
/// once: a rung's tokens are among the next one's.
inline constexpr double kFirstRung = 8, kRungRatio = 1.25;
double next_rung(double tokens, double most);
/// What all rungs but the last take together, and the number of all.
struct Ladder {
  double tokens = 0, rungs = 0;
  static Ladder of(double most);
};

/// The first rung at which the unit's heads are predicted to err by at most `error`, each
/// prediction times its head's factor.
double promised_tokens(KindStep& step, HeadKind kind, int unit, const VectorD& factors,
                       double error);

class KindPromise {
 public:
  KindPromise(const PromiseOptions& options, double error);

  /// One query of the prompt, and its true output: every kind on every rung.
  void learn(KindStep& step, const KvHead& cache, const QueryGroup& group, KvDtype dtype);

  struct Chosen {
    std::vector<HeadKind> kinds;  ///< one a unit
    VectorD factors;              ///< one a head
  };
  /// The kind that read least where every query stopped by its own factors; flat where all stopped
  /// at once; dense where that reads no more.
  Chosen choose() const;

 private:
  struct Climb {
    MatrixD predicted, bytes;  // [heads, rungs], [units, rungs]
  };
  struct Learnt {
    ErrorPromise promise;
    std::vector<Climb> climbs;  // by query
  };
  /// Mean bytes of a unit, and whether no query asked for a token.
  struct Price {
    double bytes = 0;
    bool flat = true;
  };
  Price price(const Learnt& learnt, const VectorD& factors, int unit) const;

  double error_;
  std::map<HeadKind, Learnt> learnt_;
  std::vector<double> dense_bytes_;  // by query, of one unit
  int units_ = 0, rows_ = 0;
};

}  // namespace doublep
