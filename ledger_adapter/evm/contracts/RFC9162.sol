// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Inclusion proofs of RFC 9162, section 2.1.3.2: the proof file of the operator's own log.
library RFC9162 {
    /// @notice Whether a leaf hash stands at `index` in the tree of `size` leaves with this root.
    function includes(
        bytes32 leaf,
        uint64 index,
        uint64 size,
        bytes32[] calldata path,
        bytes32 root
    ) internal pure returns (bool) {
        if (index >= size) return false;
        uint256 place = index;
        uint256 last = uint256(size) - 1;
        bytes32 found = leaf;
        for (uint256 level = 0; level < path.length; ++level) {
            if (last == 0) return false; // more nodes than the tree has levels
            if (place & 1 == 1 || place == last) {
                found = sha256(abi.encodePacked(bytes1(0x01), path[level], found));
                while (place & 1 == 0 && place != 0) {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                found = sha256(abi.encodePacked(bytes1(0x01), found, path[level]));
            }
            place >>= 1;
            last >>= 1;
        }
        return last == 0 && found == root;
    }

    /// @notice Hash of a leaf's bytes.
    function leafHash(bytes memory leaf) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), leaf));
    }
}
