# A libFuzzer program for each reader, and one that writes their seeds: tests/fuzz/run.sh runs them.
set(fuzz ${CMAKE_CURRENT_SOURCE_DIR}/fuzz)
add_library(doublep_fuzz_inputs STATIC ${fuzz}/readers.cpp ${fuzz}/hdf5_edits.cpp)
target_link_libraries(doublep_fuzz_inputs PUBLIC doublep_simulate)
target_include_directories(doublep_fuzz_inputs PRIVATE
  $<TARGET_PROPERTY:doublep_test_main,INTERFACE_INCLUDE_DIRECTORIES>)
doublep_test_paths(doublep_fuzz_inputs)

add_executable(doublep_fuzz_seeds ${fuzz}/libfuzzer/seeds.cpp)
target_link_libraries(doublep_fuzz_seeds PRIVATE doublep_fuzz_inputs)
doublep_test_paths(doublep_fuzz_seeds)
add_custom_target(doublep_fuzz)
foreach(reader trace npy safetensors sweep result baseline profile measured)
  add_executable(doublep_fuzz_${reader} ${fuzz}/libfuzzer/harness.cpp)
  target_compile_definitions(doublep_fuzz_${reader} PRIVATE DOUBLEP_FUZZ_READER="${reader}")
  target_link_libraries(doublep_fuzz_${reader} PRIVATE doublep_fuzz_inputs)
  target_link_options(doublep_fuzz_${reader} PRIVATE -fsanitize=fuzzer)
  add_dependencies(doublep_fuzz doublep_fuzz_${reader} doublep_fuzz_seeds)
endforeach()
