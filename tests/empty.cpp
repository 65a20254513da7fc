// Catch2 3 brings its own main; an object library needs a source all the same.
