// Text to numbers and back, one way everywhere: the whole text or nothing, no locale; and text from
// files made fit for a terminal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace doublep {

/// Decimal, with a minus sign at most before the digits. nullopt: anything else is there, or it
/// does not fit.
std::optional<std::int64_t> parse_integer(std::string_view text);
/// A finite number, "0.5" or "1e-3"; nullopt for anything else: nan, inf, 1e999, "1,5", " 1", "".
std::optional<double> parse_real(std::string_view text);
/// The shortest text that reads back as the same number: "0.1", "1e+300", "nan", "-inf".
std::string shortest_text(double number);
/// Control characters as \n, \t or \x1b, so that a name from a file neither breaks a line nor
/// drives a terminal. Applied twice it changes nothing more.
std::string printable(std::string_view text);
/// A JSON string, with its quotes: those inside, backslashes and control characters escaped.
std::string json_text(std::string_view text);

}  // namespace doublep
