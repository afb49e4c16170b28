/*
 * Whether a new set of files may be made where none was found.
 *
 * Nothing being there means a first start, or that what was there has not come: a file system that is not mounted, a file that somebody
 * removed. A new set in its place would fill the drive below the mount point, and when the old one came back, what was deleted meanwhile
 * would come back with it. So it is not made where something tells that there was one:
 *
 *   metadata beside a file that is missing     of a set that was used
 *   a mount point of /etc/fstab with nothing   unless it is not to be mounted at the start (noauto)
 *   mounted, above a file that is missing
 *   disk.new_set is false                      the operator has said that there is one
 *
 * A file that is there, but empty, is an operator's word that its place is right.
 */
#ifndef DAEMON_DISK_FRESH_H
#define DAEMON_DISK_FRESH_H

#include "daemon/config.h"

/*
 * NOT_FOUND: no; `why` tells what is missing, and what to do. `missing`: a flag a file, in the configuration's order. `fstab` is a path:
 * /etc/fstab.
 */
enum quire_status fresh_allowed(const struct config *config, const bool *missing, const char *fstab, char *why, size_t why_bytes);

#endif
