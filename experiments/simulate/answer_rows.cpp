#include "experiments/simulate/answer_rows.h"

#include <map>
#include <sstream>
#include <tuple>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/yaml/yaml.h"

namespace doublep::sim {
namespace {

using Question = std::tuple<std::string, std::string, std::int64_t, std::int64_t>;
using Lengths = std::map<Question, double>;  // tokens of an answer

constexpr std::int64_t kMostBytes = 256 << 20;

// A policy of the file's configuration, with its parameters as ours are written; "" where this
// program has no such policy or parameter.
std::string parameters_of(const Yaml& entry) {
  try {
    std::map<std::string, ParamValue> given;
    for (const auto& [key, value] : entry.entries())
      if (key != "name" && key != "policy" && key != "backend" && key != "kv_dtype")
        given[key] = value.value();
    return resolve(PolicyRegistry::instance().find(entry.at("policy").text()), given).to_json();
  } catch (const InputError&) {
    return "";
  }
}

// The name in the file of a policy: stored in 16 bits, as what the simulator compares it with is.
std::string name_in(const Yaml& policies, const RunSpec& policy) {
  for (const Yaml& entry : policies.items())
    if (entry.at("policy").text() == policy.policy && entry.text("kv_dtype", "bf16") != "fp8" &&
        parameters_of(entry) == policy.parameters.to_json())
      return entry.at("name").text();
  return "";
}

}  // namespace

std::vector<AnswerLength> read_answer_lengths(const std::string& path,
                                              const std::vector<RunSpec>& policies) {
  std::istringstream text(read_file(path, kMostBytes));
  std::string line;
  std::getline(text, line);
  const Yaml head = Yaml::parse(line, path);
  if (!head.is_map() || head.text("format", "") != "doublep-accuracy")
    head.fail("expected a file of experiments/accuracy.py, whose format is 'doublep-accuracy'");
  if (head.at("version").integer() != 1) head.at("version").fail("expected version 1");
  const Yaml config = head.at("config");
  const double most = config.at("answer_tokens").real(1);
  std::map<std::string, Lengths> answers;
  for (int number = 2; std::getline(text, line); ++number) {
    const Yaml row = Yaml::parse(line, concat(path, ":", number));
    if (!row.has("answer")) continue;  // a text that was given, or a question that failed
    const Question question{row.at("model").text(), row.at("task").text(),
                            row.at("length").integer(), row.at("question").integer()};
    answers[row.at("policy").text()][question] = row.at("answer_tokens").real(0);
  }
  const Lengths* dense = nullptr;
  for (const RunSpec& policy : policies)
    if (PolicyRegistry::instance().find(policy.policy).traits.dense)
      dense = &answers[name_in(config.at("policies"), policy)];
  std::vector<AnswerLength> all;
  for (const RunSpec& policy : policies) {
    AnswerLength found;
    double mine = 0, theirs = 0;
    const Lengths& lengths = answers[name_in(config.at("policies"), policy)];
    for (const auto& [question, tokens] : lengths) {
      if (!dense || !dense->count(question)) continue;
      mine += tokens, theirs += dense->at(question), ++found.questions;
      found.cut += tokens >= most || dense->at(question) >= most;
    }
    if (theirs <= 0)
      fail_input(path, ": no answers of ", policy.policy, " with ", policy.parameters.to_json(),
                 " beside dense ones to the same questions; ask them (experiments/accuracy.py), or "
                 "give `ratio` instead of `rows`");
    found.ratio = mine / theirs;
    all.push_back(found);
  }
  return all;
}

}  // namespace doublep::sim
