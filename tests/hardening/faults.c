/* Preloaded into a command: lets its n-th file operation below a folder fail, come short, or end the process.

   FAULT_ROOT: only files below this folder count. FAULT_KIND: an errno as a number, "short" for a write of half the bytes,
   "kill" for SIGKILL, "list" to let all pass and write their names into FAULT_MARK. FAULT_AT: the number of the operation,
   from 1. FAULT_MARK: a file that takes the name of the operation to which it happened. Opening counts if it is to write. */
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
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long seen = 0;

/* The absolute path of `path`, seen from the folder `dir`, if it lies below FAULT_ROOT; else 0. */
static const char *below(int dir, const char *path, char full[8192]) {
  const char *root = getenv("FAULT_ROOT");
  if (!root || !path || !getenv("FAULT_KIND")) return 0;
  if (path[0] == '/') {
    if (path != full) snprintf(full, 8192, "%s", path);
  } else {
    char link[64];
    snprintf(link, sizeof link, dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
    ssize_t n = readlink(link, full, 4000);
    if (n <= 0) return 0;
    snprintf(full + n, 8192 - n, "/%s", path);
  }
  return strncmp(full, root, strlen(root)) ? 0 : full;
}

static const char *open_file(int fd, char full[8192]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = getenv("FAULT_KIND") ? readlink(link, full, 8191) : 0;
  if (n <= 0) return 0;
  full[n] = 0;
  return below(AT_FDCWD, full, full);
}

/* 0: go on; -1: fail with errno set; 1: come short. Calls the kernel itself: nothing here is an operation. */
static int fault(const char *name, const char *path) {
  if (!path) return 0;
  const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND"), *mark = getenv("FAULT_MARK");
  long number = __sync_add_and_fetch(&seen, 1);
  int list = !strcmp(kind, "list");
  if (!list && (!at || number != atol(at))) return 0;
  if (mark) {
    char line[8400];
    int n = snprintf(line, sizeof line, "%s %s\n", name, path);
    long fd = syscall(SYS_openat, AT_FDCWD, mark, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd >= 0) { syscall(SYS_write, fd, line, (size_t)n); syscall(SYS_close, fd); }
  }
  if (list) return 0;
  if (!strcmp(kind, "kill")) kill(getpid(), SIGKILL);
  if (!strcmp(kind, "short")) return 1;
  errno = atoi(kind);
  return -1;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__) = 0; if (!real) real = dlsym(RTLD_NEXT, #name)
#define PATH(name, dir, path) char full[8192]; if (fault(#name, below(dir, path, full)) < 0) return -1
#define FILE_(name, fd) char full[8192]; if (fault(#name, open_file(fd, full)) < 0) return -1

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, write, int, const void *, size_t);
  char full[8192];
  int what = fault("write", open_file(fd, full));
  if (what < 0) return -1;
  return real(fd, data, what && size > 1 ? size / 2 : size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(ssize_t, writev, int, const struct iovec *, int);
  char full[8192];
  int what = fault("writev", open_file(fd, full));
  if (what < 0) return -1;
  return real(fd, parts, what && count > 1 ? count / 2 : count);
}

#define PWRITES(name, off)                                                                \
  ssize_t name(int fd, const void *data, size_t size, off at) {                           \
    REAL(ssize_t, name, int, const void *, size_t, off);                                  \
    char full[8192];                                                                      \
    int what = fault(#name, open_file(fd, full));                                         \
    if (what < 0) return -1;                                                              \
    return real(fd, data, what && size > 1 ? size / 2 : size, at);                        \
  }
PWRITES(pwrite, off_t)
PWRITES(pwrite64, off64_t)

#define SENDS(name, off)                                                                  \
  ssize_t name(int to, int from, off *at, size_t size) {                                  \
    REAL(ssize_t, name, int, int, off *, size_t);                                         \
    char full[8192];                                                                      \
    int what = fault(#name, open_file(to, full));                                         \
    if (what < 0) return -1;                                                              \
    return real(to, from, at, what && size > 1 ? size / 2 : size);                        \
  }
SENDS(sendfile, off_t)
SENDS(sendfile64, off64_t)

int rename(const char *from, const char *to) { REAL(int, rename, const char *, const char *); PATH(rename, AT_FDCWD, to); return real(from, to); }
int renameat(int a, const char *from, int b, const char *to) { REAL(int, renameat, int, const char *, int, const char *); PATH(renameat, b, to); return real(a, from, b, to); }
int link(const char *from, const char *to) { REAL(int, link, const char *, const char *); PATH(link, AT_FDCWD, to); return real(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(int, linkat, int, const char *, int, const char *, int); PATH(linkat, b, to); return real(a, from, b, to, flags); }
int symlink(const char *from, const char *to) { REAL(int, symlink, const char *, const char *); PATH(symlink, AT_FDCWD, to); return real(from, to); }
int mkdir(const char *path, mode_t mode) { REAL(int, mkdir, const char *, mode_t); PATH(mkdir, AT_FDCWD, path); return real(path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { REAL(int, mkdirat, int, const char *, mode_t); PATH(mkdirat, dir, path); return real(dir, path, mode); }
int unlink(const char *path) { REAL(int, unlink, const char *); PATH(unlink, AT_FDCWD, path); return real(path); }
int unlinkat(int dir, const char *path, int flags) { REAL(int, unlinkat, int, const char *, int); PATH(unlinkat, dir, path); return real(dir, path, flags); }
int rmdir(const char *path) { REAL(int, rmdir, const char *); PATH(rmdir, AT_FDCWD, path); return real(path); }
int chmod(const char *path, mode_t mode) { REAL(int, chmod, const char *, mode_t); PATH(chmod, AT_FDCWD, path); return real(path, mode); }
int fsync(int fd) { REAL(int, fsync, int); FILE_(fsync, fd); return real(fd); }
int fdatasync(int fd) { REAL(int, fdatasync, int); FILE_(fdatasync, fd); return real(fd); }
int ftruncate(int fd, off_t size) { REAL(int, ftruncate, int, off_t); FILE_(ftruncate, fd); return real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(int, ftruncate64, int, off64_t); FILE_(ftruncate64, fd); return real(fd, size); }

#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))
#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
#define OPENS(name)                                                                       \
  int name(const char *path, int flags, ...) {                                            \
    REAL(int, name, const char *, int, ...);                                              \
    MODE(flags)                                                                           \
    char full[8192];                                                                      \
    if (WRITES(flags) && fault(#name, below(AT_FDCWD, path, full)) < 0) return -1;         \
    return real(path, flags, mode);                                                       \
  }
#define OPENSAT(name)                                                                     \
  int name(int dir, const char *path, int flags, ...) {                                   \
    REAL(int, name, int, const char *, int, ...);                                         \
    MODE(flags)                                                                           \
    char full[8192];                                                                      \
    if (WRITES(flags) && fault(#name, below(dir, path, full)) < 0) return -1;              \
    return real(dir, path, flags, mode);                                                  \
  }
OPENS(open)
OPENS(open64)
OPENSAT(openat)
OPENSAT(openat64)
