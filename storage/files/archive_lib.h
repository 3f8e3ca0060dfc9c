/* libarchive, loaded when an archive is read or written.
 *
 * It brings a dozen libraries with it, whose loading would take more than a millisecond of every
 * command, a quarter of what answering with a remembered result takes. */
#ifndef FAB_FILES_ARCHIVE_LIB_H
#define FAB_FILES_ARCHIVE_LIB_H

#include "storage/base/rc.h"

#include <archive.h>
#include <archive_entry.h>

#define FAB_ARCHIVE_FUNCTIONS(X)                                                                   \
    X(archive_entry_copy_pathname)                                                                 \
    X(archive_entry_copy_symlink)                                                                  \
    X(archive_entry_filetype)                                                                      \
    X(archive_entry_free)                                                                          \
    X(archive_entry_hardlink)                                                                      \
    X(archive_entry_new)                                                                           \
    X(archive_entry_pathname)                                                                      \
    X(archive_entry_perm)                                                                          \
    X(archive_entry_set_filetype)                                                                  \
    X(archive_entry_set_mtime)                                                                     \
    X(archive_entry_set_perm)                                                                      \
    X(archive_entry_set_size)                                                                      \
    X(archive_entry_size)                                                                          \
    X(archive_entry_symlink)                                                                       \
    X(archive_error_string)                                                                        \
    X(archive_read_data_block)                                                                     \
    X(archive_read_free)                                                                           \
    X(archive_read_new)                                                                            \
    X(archive_read_next_header)                                                                    \
    X(archive_read_open_fd)                                                                        \
    X(archive_read_support_filter_all)                                                             \
    X(archive_read_support_format_empty)                                                           \
    X(archive_read_support_format_tar)                                                             \
    X(archive_write_close)                                                                         \
    X(archive_write_data)                                                                          \
    X(archive_write_fail)                                                                          \
    X(archive_write_free)                                                                          \
    X(archive_write_header)                                                                        \
    X(archive_write_new)                                                                           \
    X(archive_write_open2)                                                                         \
    X(archive_write_set_bytes_per_block)                                                           \
    X(archive_write_set_format_pax_restricted)

/* The functions under their own names. */
struct fab_archive_lib {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration */
#define FAB_ARCHIVE_FIELD(name) __typeof__(name) *name;
    FAB_ARCHIVE_FUNCTIONS(FAB_ARCHIVE_FIELD)
#undef FAB_ARCHIVE_FIELD
};

/* Load the library, once per process; any thread. FAB_ENOENT with a line that names the Debian
 * package to install. The table is static and stays loaded. */
FAB_MUST enum fab_rc fab_archive_lib(const struct fab_archive_lib **out, struct fab_err *err);

#endif
