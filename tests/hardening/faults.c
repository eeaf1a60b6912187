/* Preloaded into a command: lets its n-th file operation below a folder fail, come short, or end the process.

   FAULT_ROOT: only files below this folder count. FAULT_AT: the number of the operation, from 1. FAULT_KIND: an errno as a
   number, "short" for a write of half the bytes, "kill" for SIGKILL. FAULT_MARK: a file that says that it happened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static long seen = 0;
static int busy = 0;

static int below(const char *path) {
  const char *root = getenv("FAULT_ROOT");
  char full[8192];
  if (!root || !path) return 0;
  if (path[0] != '/') {
    if (!getcwd(full, 4000)) return 0;
    strncat(full, "/", 2);
    strncat(full, path, 4000);
    path = full;
  }
  return strncmp(path, root, strlen(root)) == 0;
}

static int below_fd(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return below(path);
}

/* 0: go on; -1: fail with errno set; 1: come short */
static int fault(int writes) {
  const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND"), *mark = getenv("FAULT_MARK");
  if (!at || !kind || busy || __sync_add_and_fetch(&seen, 1) != atol(at)) return 0;
  busy = 1;
  if (mark) close(creat(mark, 0644));
  if (!strcmp(kind, "kill")) kill(getpid(), SIGKILL);
  if (!strcmp(kind, "short")) { busy = 0; return writes ? 1 : 0; }
  errno = atoi(kind);
  busy = 0;
  return -1;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__) = 0; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, write, int, const void *, size_t);
  int what = below_fd(fd) ? fault(1) : 0;
  if (what < 0) return -1;
  return real(fd, data, what && size > 1 ? size / 2 : size);
}

int rename(const char *from, const char *to) {
  REAL(int, rename, const char *, const char *);
  return below(to) && fault(0) < 0 ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
  REAL(int, mkdir, const char *, mode_t);
  return below(path) && fault(0) < 0 ? -1 : real(path, mode);
}

int unlink(const char *path) {
  REAL(int, unlink, const char *);
  return below(path) && fault(0) < 0 ? -1 : real(path);
}

int link(const char *from, const char *to) {
  REAL(int, link, const char *, const char *);
  return below(to) && fault(0) < 0 ? -1 : real(from, to);
}

int fsync(int fd) {
  REAL(int, fsync, int);
  return below_fd(fd) && fault(0) < 0 ? -1 : real(fd);
}

#define OPENS(name)                                                                         \
  int name(const char *path, int flags, ...) {                                              \
    REAL(int, name, const char *, int, ...);                                                \
    va_list rest; va_start(rest, flags);                                                    \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                  \
    va_end(rest);                                                                           \
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(path) && fault(0) < 0) return -1;   \
    return real(path, flags, mode);                                                         \
  }
OPENS(open)
OPENS(open64)
