// The thread blocks of a cluster working as one on a KV head: who they are, a barrier, each other's
// shared memory. One block by itself on chips before sm_90, and where it is launched so.
#pragma once

namespace doublep::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

struct Team {
  __device__ static int size() {
    int blocks;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
    return blocks;
  }
  __device__ static int rank() {
    int rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
  }
  /// Every thread of every block; what they wrote to shared memory before is visible after. In two
  /// halves, with what nobody waits for between them. The barrier is a warp's, whose lanes may come
  /// from different branches.
  __device__ static void arrive() {
    __syncwarp();
    asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
  }
  /// As arrive(), by threads that have nothing to show: of what they wrote nobody else reads any
  /// more. Without the fence that waits for all that they wrote.
  __device__ static void leave() {
    __syncwarp();
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
  }
  __device__ static void wait() {
    __syncwarp();
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
  }
  __device__ static void sync() { arrive(), wait(); }
  /// The object in the shared memory of block `rank` that is `mine` in this one's.
  template <class T>
  __device__ static T* of(T* mine, int rank) {
    T* theirs;
    asm("mapa.u64 %0, %1, %2;" : "=l"(theirs) : "l"(mine), "r"(rank));
    return theirs;
  }
};

#else

struct Team {
  __device__ static int size() { return 1; }
  __device__ static int rank() { return 0; }
  __device__ static void arrive() {}
  __device__ static void leave() {}
  __device__ static void wait() { __syncthreads(); }
  __device__ static void sync() { __syncthreads(); }
  template <class T>
  __device__ static T* of(T* mine, int) {
    return mine;
  }
};

#endif

}  // namespace doublep::cuda
