# Runs at every build (cmake -P): the commit belongs to the build, not to the configuration. The
# header is rewritten only where it changed, so that nothing is compiled for nothing.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --dirty --abbrev=12 --exclude=*
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT
"#pragma once
#define DOUBLEP_COMMIT \"${commit}\"
#define DOUBLEP_COMPILER \"${COMPILER}\"
#define DOUBLEP_FLAGS \"${FLAGS}\"
#define DOUBLEP_YAML_VERSION \"${YAML_VERSION}\"
#define DOUBLEP_CUDA_VERSION \"${CUDA_VERSION}\"
")
