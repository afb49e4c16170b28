#include "client/quirectl/ucx_names.h"

#include "proto/base/base.h"
#include "proto/base/nearest.h"

#include <stdio.h>
#include <string.h>

/* As `ucx_info -cf` of UCX 1.13 tells them. A variable of a transport is one of `transports` and one of `of_transports`, joined by "_". Many
   tables of UCX's have several names, so some pairs are allowed here that there are not. */
static const char general[] =
    " ACC_DEVICES ADAPTIVE_PROGRESS ADDRESS_DEBUG_INFO ADDRESS_VERSION ALLOC_PRIO ASYNC_MAX_EVENTS ASYNC_SIGNO ATOMIC_MODE BCOPY_BW "
    "BCOPY_THRESH BUILTIN_MEMCPY_MAX BUILTIN_MEMCPY_MIN CM_USE_ALL_DEVICES DEBUG_SIGNO ERROR_MAIL_FOOTER ERROR_MAIL_TO ERROR_SIGNALS "
    "FLUSH_WORKER_EPS GDB_COMMAND HANDLE_ERRORS KEEPALIVE_INTERVAL KEEPALIVE_NUM_EPS LISTENER_BACKLOG LOG_BUFFER LOG_DATA_SIZE LOG_FILE "
    "LOG_FILE_FILTER LOG_FILE_ROTATE LOG_FILE_SIZE LOG_LEVEL LOG_LEVEL_TRIGGER LOG_PRINT_ENABLE MAX_EAGER_RAILS MAX_RNDV_RAILS "
    "MAX_WORKER_ADDRESS_NAME MEMTRACK_DEST MEMTRACK_LIMIT MEMTYPE_CACHE MEMTYPE_REG_WHOLE_ALLOC_TYPES MEM_ALLOC_ALIGN MEM_CUDA_HOOK_MODE "
    "MEM_DLOPEN_PROCESS_RPATH MEM_DYNAMIC_MMAP_THRESH MEM_EVENTS MEM_LOG_LEVEL MEM_MALLOC_HOOKS MEM_MALLOC_RELOC MEM_MMAP_HOOK_MODE "
    "MEM_MODULE_UNLOAD_PREVENT_MODE MODULES MODULE_DIR MODULE_LOG_LEVEL MULTI_LANE_MAX_RATIO NET_DEVICES NUM_EPS NUM_PPN PROFILE_FILE "
    "PROFILE_LOG_SIZE PROFILE_MODE PROTOS PROTO_ENABLE PROTO_INDIRECT_ID PROTO_INFO RCACHE_CHECK_PFN RCACHE_ENABLE RCACHE_STAT_MAX "
    "RCACHE_STAT_MIN RESOLVE_REMOTE_EP_ID RKEY_MPOOL_MAX_MD RKEY_PTR_SEG_SIZE RNDV_FRAG_ALLOC_COUNT RNDV_FRAG_MEM_TYPE RNDV_FRAG_SIZE "
    "RNDV_MEMTYPE_DIRECT_SIZE RNDV_PERF_DIFF RNDV_PIPELINE_SEND_THRESH RNDV_PIPELINE_SHM_ENABLE RNDV_PUT_FORCE_FLUSH RNDV_SCHEME "
    "RNDV_SEND_NBR_THRESH RNDV_THRESH RNDV_THRESH_FALLBACK RX_MPOOL_SIZES SA_DATA_VERSION SEG_SIZE SELECT_DISTANCE_MD SHM_DEVICES "
    "SOCKADDR_TLS_PRIORITY TLS TM_FORCE_THRESH TM_MAX_BB_SIZE TM_SW_RNDV TM_THRESH TOPO_PRIO UNIFIED_MODE USE_MT_MUTEX VFS_ENABLE "
    "VFS_THREAD_AFFINITY WARN_INVALID_CONFIG WARN_UNUSED_ENV_VARS ZCOPY_THRESH ";
static const char transports[] =
    " CM CMA DC DC_MLX5 IB MM POSIX RC RC_MLX5 RC_VERBS RDMA_CM SCOPY SELF SYSV TCP TCP_CM UD UD_MLX5 UD_VERBS ";
static const char of_transports[] =
    " ADDR_TYPE AF_PRIO ALLOC AR_ENABLE ASYNC_EVENTS ASYNC_TIMER_TICK BW COMPACT_AV CONN_NB CQE_ZIPPING_ENABLE DCI_FULL_HANDSHAKE "
    "DCI_KA_FULL_HANDSHAKE DCT_FULL_HANDSHAKE DEVICES DEVICE_SPECS DIR DM_COUNT DM_SIZE ERROR_HANDLING ETH_DGID_CHECK ETH_PAUSE_ON "
    "EXP_BACKOFF FAILURE FC_ENABLE FC_HARD_REQ_TIMEOUT FC_HARD_THRESH FC_SOFT_THRESH FC_WND_SIZE FENCE FIFO_ELEM_SIZE FIFO_HUGETLB "
    "FIFO_MAX_POLL FIFO_RELEASE_FACTOR FIFO_SIZE FLUSH_MODE FORK_INIT GID_INDEX GPU_DIRECT_RDMA HOP_LIMIT HUGETLB_MODE INDIRECT_ATOMIC "
    "IS_GLOBAL KEEPCNT KEEPIDLE KEEPINTVL LID_PATH_BITS LINGER_TIMEOUT LOG_ACK_REQ_FREQ MAX_AM_HDR MAX_CONN_RETRIES MAX_GET_ZCOPY "
    "MAX_IDLE_RKEY_COUNT MAX_IOV MAX_NUM_EPS MAX_POLL MAX_RD_ATOMIC MAX_WINDOW MEMORY_INVALIDATE MEM_REG_GROWTH MEM_REG_OVERHEAD "
    "MIN_POKE_TIME MLX5_DEVX MLX5_DEVX_OBJECTS MMIO_MODE NODELAY NUM_DCI NUM_DEVICES NUM_PATHS ODP_MAX_SIZE ODP_NUMA_POLICY ODP_PREFETCH "
    "PATH_MTU PCI_BW PCI_RELAXED_ORDERING PKEY PORT_RANGE PREFER_DEFAULT PREFER_NEAREST_DEVICE PRIV_DATA_LEN PUT_ENABLE QUOTA "
    "RAND_DCI_SEED "
    "RCACHE_ADDR_ALIGN RCACHE_MAX_REGIONS RCACHE_MAX_SIZE RCACHE_MAX_UNRELEASED RCACHE_MEM_PRIO RCACHE_OVERHEAD RCACHE_PURGE_ON_FORK "
    "RCVBUF "
    "REG_METHODS REG_MT_BIND REG_MT_CHUNK REG_MT_THRESH RESERVED_QPN RETRY_COUNT REUSEADDR RNR_RETRY_COUNT RNR_TIMEOUT ROCE_LOCAL_SUBNET "
    "ROCE_PATH_FACTOR ROCE_SUBNET_PREFIX_LEN RX_ASYNC_MAX_POLL RX_BUFS_GROW RX_INLINE RX_MAX_BATCH RX_MAX_BUFS RX_MAX_POLL RX_QUEUE_LEN "
    "RX_QUEUE_LEN_INIT RX_SEG_SIZE SEG_SIZE SENDV_THRESH SL SNDBUF SOURCE_ADDRESS SRQ_TOPO SUBNET_PREFIX SYN_CNT TIMEOUT TIMER_BACKOFF "
    "TIMER_TICK TM_ENABLE TM_LIST_SIZE TM_MP_NUM_STRIDES TM_MP_SRQ_ENABLE TM_SEG_SIZE TRAFFIC_CLASS TX_BUFS_GROW TX_CQ_LEN "
    "TX_CQ_MODERATION "
    "TX_INLINE_RESP TX_MAX_BATCH TX_MAX_BB TX_MAX_BUFS TX_MAX_POLL TX_MAX_WR TX_MIN_INLINE TX_MIN_SGE TX_NUM_GET_BYTES TX_POLICY "
    "TX_POLL_ALWAYS TX_QUEUE_LEN TX_QUOTA TX_SEG_SIZE USE_PROC_LINK ";

/* What people set, and mistype. */
static const char *const usual[] = {"TLS",
                                    "NET_DEVICES",
                                    "MEM_EVENTS",
                                    "LOG_LEVEL",
                                    "TCP_PORT_RANGE",
                                    "TCP_KEEPIDLE",
                                    "TCP_KEEPINTVL",
                                    "TCP_KEEPCNT",
                                    "KEEPALIVE_INTERVAL",
                                    "KEEPALIVE_NUM_EPS",
                                    "MM_ERROR_HANDLING",
                                    "ERROR_SIGNALS",
                                    "HANDLE_ERRORS",
                                    "WARN_UNUSED_ENV_VARS",
                                    "RNDV_THRESH",
                                    "RNDV_SCHEME",
                                    "ZCOPY_THRESH",
                                    "MAX_RNDV_RAILS",
                                    "MAX_EAGER_RAILS",
                                    "IB_GID_INDEX",
                                    "IB_TRAFFIC_CLASS",
                                    "IB_SL",
                                    "RC_TIMEOUT",
                                    "RC_RETRY_COUNT",
                                    "TCP_SNDBUF",
                                    "TCP_RCVBUF",
                                    "TCP_NODELAY"};

static bool is_one_of(const char *name, size_t length, const char *names) {
    char word[80];
    int used = snprintf(word, sizeof word, " %.*s ", (int)quire_min_u64(length, sizeof word), name);
    return used > 2 && (size_t)used < sizeof word && strstr(names, word) != NULL;
}

bool ucx_is_variable(const char *name) {
    if (is_one_of(name, strlen(name), general)) {
        return true;
    }
    for (const char *joint = strchr(name, '_'); joint != NULL; joint = strchr(joint + 1, '_')) {
        if (is_one_of(name, (size_t)(joint - name), transports) && is_one_of(joint + 1, strlen(joint + 1), of_transports)) {
            return true;
        }
    }
    return false;
}

const char *ucx_meant(const char *name) { return quire_nearest(name, usual, QUIRE_ARRAY_LEN(usual)); }
