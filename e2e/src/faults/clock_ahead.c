/* A library to preload: the wall clock of the process is five minutes ahead. All other clocks are unchanged. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*original)(clockid_t, struct timespec *);
    if (!original) {
        original = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = original(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME) {
        time->tv_sec += 300;
    }
    return result;
}
