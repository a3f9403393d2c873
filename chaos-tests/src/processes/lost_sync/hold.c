/* Notes, for every file below one folder, what a loss of power would take away: the bytes, lengths and names that no sync has made
 * durable. Writes go through as ever. What was there before stands in a journal beside, from which undo.rs puts it back. Nothing of
 * this runs in the process that is lost, so SIGKILL may come at any place.
 *
 * CHAOS_HOLD_BELOW is the folder, CHAOS_HOLD_UNDO the one of the journals, on the same file system:
 *   d<inode>   of a file: entries of `struct entry` and as many bytes; cut to nothing when a sync has covered all of them
 *   names      a line a change of a name, fields parted by tabs; `S` lines say up to which byte a folder is synced
 *   saved-*    further names of files that were removed or replaced
 * A line or entry is written before what it tells of, so what is at their end may not have happened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096ul
#define MAGIC 0x31444c48u /* HLD1 */
enum { PIECE = 1, MARK = 2 };

struct entry {
    uint32_t magic, kind;
    uint64_t offset, count, length; /* of a piece: where, how many bytes follow, how long the file was; of a mark: `offset` */
};

struct file {
    dev_t device;
    ino_t inode;
    uint64_t syncs;
    unsigned char *noted; /* a bit a page: its old content is in the journal */
    size_t noted_bytes;
    struct file *next;
};

struct saved {
    ino_t folder;
    uint64_t at;
    char path[PATH_MAX];
    struct saved *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char below[PATH_MAX], undo[PATH_MAX];
static size_t below_bytes;
static struct file *files[1024];
static struct saved *all_saved;
static unsigned long saved_count;

#define REAL(result, name, ...)                                                     \
    static result (*name##_real)(__VA_ARGS__);                                      \
    static void name##_find(void) { name##_real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name); }

REAL(int, open64, const char *, int, ...)
REAL(int, openat64, int, const char *, int, ...)
REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, writev, int, const struct iovec *, int)
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)
REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t)
REAL(int, ftruncate64, int, off64_t)
REAL(int, fallocate64, int, int, off64_t, off64_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, rename, const char *, const char *)
REAL(int, unlink, const char *)
REAL(int, mkdir, const char *, mode_t)

__attribute__((constructor)) static void begin(void)
{
    open64_find(), openat64_find(), write_find(), writev_find(), pwrite64_find(), pwritev64_find();
    ftruncate64_find(), fallocate64_find(), fsync_find(), fdatasync_find(), rename_find(), unlink_find(), mkdir_find();
    const char *folder = getenv("CHAOS_HOLD_BELOW"), *journals = getenv("CHAOS_HOLD_UNDO");
    if (folder && journals && strlen(folder) < PATH_MAX - 64 && strlen(journals) < PATH_MAX - 64) {
        strcpy(below, folder), strcpy(undo, journals);
        below_bytes = strlen(below);
    }
}

/* A test that forgets to note something would hold nothing: better no process than one that lies. */
static void must(int is_so, const char *what)
{
    if (!is_so) {
        fprintf(stderr, "hold.c: %s: %s\n", what, strerror(errno));
        _exit(113);
    }
}

static int is_below(const char *path)
{
    return below_bytes && !strncmp(path, below, below_bytes) && (path[below_bytes] == '/' || !path[below_bytes]);
}

static int whole(int folder, const char *path, char *out)
{
    char base[PATH_MAX];
    if (path[0] == '/')
        return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base))
            return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t bytes = readlink(link, base, sizeof base - 1);
        if (bytes < 0)
            return 0;
        base[bytes] = 0;
    }
    return snprintf(out, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

static int open_in_undo(const char *name, int flags)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", undo, name);
    int fd = open64_real(path, flags | O_CLOEXEC, 0600);
    must(fd >= 0, path);
    return fd;
}

static uint64_t length_in_undo(const char *name)
{
    char path[PATH_MAX];
    struct stat found;
    snprintf(path, sizeof path, "%s/%s", undo, name);
    return stat(path, &found) ? 0 : (uint64_t)found.st_size;
}

static void journal_of(ino_t inode, char *out, size_t bytes)
{
    snprintf(out, bytes, "d%lu", (unsigned long)inode);
}

static struct file *find(dev_t device, ino_t inode, int make)
{
    struct file **place = &files[inode % 1024];
    for (struct file *one = *place; one; one = one->next)
        if (one->device == device && one->inode == inode)
            return one;
    if (!make)
        return NULL;
    struct file *one = calloc(1, sizeof *one);
    must(one != NULL, "memory");
    one->device = device, one->inode = inode, one->next = *place;
    return *place = one;
}

/* The file that is open as `fd`, if it is one of those below the folder. */
static struct file *held(int fd, struct stat *found)
{
    if (!below_bytes || fstat(fd, found) || !S_ISREG(found->st_mode))
        return NULL;
    return find(found->st_dev, found->st_ino, 0);
}

static void note_entry(const struct file *file, uint32_t kind, uint64_t offset, uint64_t length, const void *bytes, size_t count)
{
    char name[32];
    struct entry head = { MAGIC, kind, offset, count, length };
    struct iovec parts[2] = { { &head, sizeof head }, { (void *)bytes, count } };
    journal_of(file->inode, name, sizeof name);
    int fd = open_in_undo(name, O_WRONLY | O_CREAT | O_APPEND);
    must(writev_real(fd, parts, 2) == (ssize_t)(sizeof head + count), "write a journal");
    close(fd);
}

/* Notes the pages that `count` bytes from `at` on lie in, those that are not noted yet. */
static void note(struct file *file, int fd, const struct stat *found, uint64_t at, uint64_t count)
{
    char path[64], old[PAGE];
    int reader = -1;
    uint64_t last = count ? (at + count - 1) / PAGE : at / PAGE;
    if (last / 8 >= file->noted_bytes) {
        size_t bytes = (last / 8 + 4096) & ~4095ul;
        file->noted = realloc(file->noted, bytes);
        must(file->noted != NULL, "memory");
        memset(file->noted + file->noted_bytes, 0, bytes - file->noted_bytes);
        file->noted_bytes = bytes;
    }
    for (uint64_t page = at / PAGE; page <= last; page++) {
        if (file->noted[page / 8] & 1 << page % 8)
            continue;
        ssize_t bytes = 0;
        if (page * PAGE < (uint64_t)found->st_size) {
            if (reader < 0) {
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                must((reader = open64_real(path, O_RDONLY | O_CLOEXEC)) >= 0, "read what was there");
            }
            must((bytes = pread(reader, old, PAGE, (off_t)(page * PAGE))) >= 0, "read what was there");
        }
        note_entry(file, PIECE, page * PAGE, (uint64_t)found->st_size, old, (size_t)bytes);
        file->noted[page / 8] |= 1 << page % 8;
    }
    if (reader >= 0)
        close(reader);
}

static uint64_t note_name(const char *line)
{
    int fd = open_in_undo("names", O_WRONLY | O_CREAT | O_APPEND);
    uint64_t at = length_in_undo("names");
    must(write_real(fd, line, strlen(line)) == (ssize_t)strlen(line), "write names");
    close(fd);
    return at;
}

static ino_t folder_of(const char *path)
{
    char folder[PATH_MAX];
    struct stat found;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    return stat(folder, &found) ? 0 : found.st_ino;
}

/* Gives a file that is about to lose its name another one. `-` if it is none. */
static void save(const char *path, char *name, size_t bytes)
{
    char other[PATH_MAX];
    struct stat found;
    snprintf(name, bytes, "-");
    if (lstat(path, &found) || !S_ISREG(found.st_mode))
        return;
    snprintf(name, bytes, "saved-%d-%lu", getpid(), saved_count++);
    snprintf(other, sizeof other, "%s/%s", undo, name);
    must(!link(path, other), "save a file");
}

static void remember(const char *name, ino_t folder, uint64_t at)
{
    if (name[0] == '-')
        return;
    struct saved *one = calloc(1, sizeof *one);
    must(one != NULL, "memory");
    snprintf(one->path, sizeof one->path, "%s/%s", undo, name);
    one->folder = folder, one->at = at, one->next = all_saved;
    all_saved = one;
}

static void forget(ino_t folder, uint64_t upto)
{
    for (struct saved **place = &all_saved; *place;) {
        struct saved *one = *place;
        if (one->folder == folder && one->at < upto) {
            unlink_real(one->path);
            *place = one->next;
            free(one);
        } else {
            place = &one->next;
        }
    }
}

static int opened(int folder, const char *path, int flags, mode_t mode)
{
    char at[PATH_MAX], line[2 * PATH_MAX], name[32];
    struct stat found;
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    if (!below_bytes || !(writes || flags & O_CREAT) || !whole(folder, path, at) || !is_below(at))
        return openat64_real(folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = flags & O_CREAT && lstat(at, &found) && errno == ENOENT;
    if (is_new) {
        snprintf(line, sizeof line, "C\t%lu\t%s\n", (unsigned long)folder_of(at), at);
        note_name(line);
    } else if (flags & O_TRUNC && !stat(at, &found) && S_ISREG(found.st_mode)) {
        int fd = open64_real(at, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            note(find(found.st_dev, found.st_ino, 1), fd, &found, 0, (uint64_t)found.st_size);
            close(fd);
        }
    }
    int fd = openat64_real(folder, path, flags, mode);
    int why = errno;
    if (fd >= 0 && !fstat(fd, &found) && S_ISREG(found.st_mode)) {
        struct file *file = find(found.st_dev, found.st_ino, 1);
        if (is_new) {
            /* The number of a file that is gone may come again. */
            journal_of(found.st_ino, name, sizeof name);
            close(open_in_undo(name, O_WRONLY | O_CREAT | O_TRUNC));
            if (file->noted)
                memset(file->noted, 0, file->noted_bytes);
            file->syncs++;
            note_entry(file, PIECE, 0, 0, "", 0);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = why;
    return fd;
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                              \
    int name(const char *path, int flags, ...)  \
    {                                           \
        va_list rest;                           \
        va_start(rest, flags);                  \
        mode_t mode = mode_of(flags, rest);     \
        va_end(rest);                           \
        return opened(AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
#define OPEN_AT(name)                                      \
    int name(int folder, const char *path, int flags, ...) \
    {                                                      \
        va_list rest;                                      \
        va_start(rest, flags);                             \
        mode_t mode = mode_of(flags, rest);                \
        va_end(rest);                                      \
        return opened(folder, path, flags, mode);          \
    }
OPEN_AT(openat)
OPEN_AT(openat64)

static uint64_t place_of(int fd, const struct stat *found)
{
    int flags = fcntl(fd, F_GETFL);
    return flags & O_APPEND ? (uint64_t)found->st_size : (uint64_t)lseek(fd, 0, SEEK_CUR);
}

/* Does `call` under the lock, after what it will change is noted. */
#define NOTED(type, fd, at, count, call)            \
    struct stat found;                              \
    type result;                                    \
    pthread_mutex_lock(&lock);                      \
    struct file *file = held(fd, &found);           \
    if (!file) {                                    \
        pthread_mutex_unlock(&lock);                \
        return call;                                \
    }                                               \
    note(file, fd, &found, at, count);              \
    result = call;                                  \
    int why = errno;                                \
    pthread_mutex_unlock(&lock);                    \
    errno = why;                                    \
    return result

static size_t sum(const struct iovec *parts, int count)
{
    size_t bytes = 0;
    for (int part = 0; part < count; part++)
        bytes += parts[part].iov_len;
    return bytes;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    NOTED(ssize_t, fd, place_of(fd, &found), count, write_real(fd, bytes, count));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    NOTED(ssize_t, fd, place_of(fd, &found), sum(parts, count), writev_real(fd, parts, count));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    NOTED(ssize_t, fd, (uint64_t)at, count, pwrite64_real(fd, bytes, count, at));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    return pwrite64(fd, bytes, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
    NOTED(ssize_t, fd, (uint64_t)at, sum(parts, count), pwritev64_real(fd, parts, count, at));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return pwritev64(fd, parts, count, at);
}

/* What lies behind the new end is lost with it; of a file that grows only the length is noted. */
static uint64_t lost_from(const struct stat *found, off64_t length)
{
    return length < found->st_size ? (uint64_t)length : (uint64_t)found->st_size;
}

int ftruncate64(int fd, off64_t length)
{
    NOTED(int, fd, lost_from(&found, length), (uint64_t)found.st_size - lost_from(&found, length),
          ftruncate64_real(fd, length));
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t count)
{
    NOTED(int, fd, (uint64_t)at, mode ? (uint64_t)count : 0, fallocate64_real(fd, mode, at, count));
}

int fallocate(int fd, int mode, off_t at, off_t count)
{
    return fallocate64(fd, mode, at, count);
}

static int synced(int fd, int (*real)(int))
{
    char name[32], line[128], path[PATH_MAX];
    struct stat found;
    struct file *file = NULL;
    if (!below_bytes || fstat(fd, &found))
        return real(fd);
    int is_folder = S_ISDIR(found.st_mode);
    pthread_mutex_lock(&lock);
    if (is_folder) {
        snprintf(name, sizeof name, "names");
    } else {
        file = held(fd, &found);
        journal_of(found.st_ino, name, sizeof name);
    }
    uint64_t syncs = file ? file->syncs : 0, upto = length_in_undo(name);
    if (file && file->noted)
        memset(file->noted, 0, file->noted_bytes);
    pthread_mutex_unlock(&lock);
    if (!is_folder && !file)
        return real(fd);
    int result = real(fd), why = errno;
    pthread_mutex_lock(&lock);
    if (!result && is_folder && upto) {
        snprintf(line, sizeof line, "S\t%lu\t%lu\n", (unsigned long)found.st_ino, (unsigned long)upto);
        note_name(line);
        forget(found.st_ino, upto);
    } else if (!result && file && file->syncs == syncs) {
        file->syncs++;
        if (length_in_undo(name) == upto) {
            snprintf(path, sizeof path, "%s/%s", undo, name);
            must(!truncate(path, 0) || errno == ENOENT, "empty a journal");
        } else {
            note_entry(file, MARK, upto, 0, "", 0);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}

int fsync(int fd)
{
    return synced(fd, fsync_real);
}

int fdatasync(int fd)
{
    return synced(fd, fdatasync_real);
}

/* It starts the writing of pages and waits for them. Neither the length of the file nor the cache of the device is in it. */
int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags)
{
    return (int)syscall(SYS_sync_file_range, fd, at, count, flags);
}

int rename(const char *from, const char *to)
{
    char old[PATH_MAX], new[PATH_MAX], name[64], line[3 * PATH_MAX];
    if (!below_bytes || !whole(AT_FDCWD, from, old) || !whole(AT_FDCWD, to, new) || !(is_below(old) || is_below(new)))
        return rename_real(from, to);
    pthread_mutex_lock(&lock);
    save(new, name, sizeof name);
    snprintf(line, sizeof line, "R\t%lu\t%s\t%s\t%s\n", (unsigned long)folder_of(new), old, new, name);
    remember(name, folder_of(new), note_name(line));
    int result = rename_real(from, to), why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}

int unlink(const char *path)
{
    char at[PATH_MAX], name[64], line[2 * PATH_MAX];
    struct stat found;
    if (!below_bytes || !whole(AT_FDCWD, path, at) || !is_below(at) || lstat(at, &found))
        return unlink_real(path);
    pthread_mutex_lock(&lock);
    save(at, name, sizeof name);
    snprintf(line, sizeof line, "U\t%lu\t%s\t%s\n", (unsigned long)folder_of(at), at, name);
    remember(name, folder_of(at), note_name(line));
    int result = unlink_real(path), why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    char at[PATH_MAX], line[2 * PATH_MAX];
    struct stat found;
    if (!below_bytes || !whole(AT_FDCWD, path, at) || !is_below(at) || !lstat(at, &found))
        return mkdir_real(path, mode);
    pthread_mutex_lock(&lock);
    snprintf(line, sizeof line, "M\t%lu\t%s\n", (unsigned long)folder_of(at), at);
    note_name(line);
    int result = mkdir_real(path, mode), why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}
