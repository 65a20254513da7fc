// What memory the system still lets this program have.
#pragma once

#include <cstddef>

namespace doublep {

/// Bytes of address space that this process uses; 0 where the system does not say.
std::size_t address_space();

/// May it take so many bytes more, by its limit on address space? Where it may not, what fails for
/// want of memory is no damage, and another thread's stack would leave no room to work in.
bool may_grow_by(std::size_t bytes);

/// Takes the stack that this thread will compute on now. Where the address space has a limit it may
/// not be able to grow later, and the program would die of that without a word. Throws
/// std::bad_alloc. Of threads of the pool the whole stack is there from the start.
void reserve_stack();

}  // namespace doublep
